import { InputError } from '../../core/errors.js';
import { normalizeAnswer } from './answers.js';
import { strip } from './words.js';

/** What people answered to one question, ten of them in VQA v2. */
export interface AnnotatedQuestion {
  readonly id: number;
  readonly answers: readonly string[];
  /** 'yes/no', 'number' or 'other' in VQA v2. */
  readonly answerType?: string;
  /** The first words of the question in VQA v2. */
  readonly questionType?: string;
}

/** Accuracies in per cent, not rounded. */
export interface VqaAccuracy {
  readonly overall: number;
  /** Of the questions of each type, where the annotations name types. */
  readonly perAnswerType: Readonly<Record<string, number>>;
  readonly perQuestionType: Readonly<Record<string, number>>;
  readonly questions: number;
}

/** Questions from the content of an annotation file of VQA (v1, v2): `{annotations: [{question_id, answers: [{answer}], ...}]}`. */
export function readVqaAnnotations(content: unknown): AnnotatedQuestion[] {
  const list = isObject(content) ? content.annotations : undefined;
  if (!Array.isArray(list)) {
    throw new InputError(
      'Expected a VQA annotation file with a list "annotations", as v2_mscoco_val2014_annotations.json has it.',
    );
  }
  return list.map((item: unknown, i) => annotatedQuestion(item, `the one at position ${i}`));
}

/** A question from one element of an annotation file; `where` names it in messages. */
export function annotatedQuestion(item: unknown, where: string): AnnotatedQuestion {
  const { question_id, answers, answer_type, question_type } = isObject(item) ? item : {};
  const texts = Array.isArray(answers) ? answers.map((a: unknown) => (isObject(a) ? a.answer : undefined)) : [];
  if (typeof question_id !== 'number' || texts.length === 0 || !texts.every((text) => typeof text === 'string')) {
    throw new InputError(
      `Expected a number "question_id" and a list "answers" of objects with an "answer" in each VQA annotation, got something else in ${where}.`,
    );
  }
  return {
    id: question_id,
    answers: texts,
    answerType: typeof answer_type === 'string' ? answer_type : undefined,
    questionType: typeof question_type === 'string' ? question_type : undefined,
  };
}

/**
 * Accuracy of one answer against those of the annotators, 0 to 1: for each annotator left out in turn, a third for every
 * other who gave the answer, at most 1, and of these the mean. Answers are compared as normalizeAnswer has them, but as
 * they are when all annotators agree.
 *
 * Antol et al. 2015 and the evaluation code of VQA (`vqaEval.py`).
 */
export function annotatorAccuracy(answer: string, annotators: readonly string[]): number {
  const theirs = annotators.map(onOneLine);
  const asTheyAre = new Set(theirs).size === 1;
  const read = asTheyAre ? (text: string) => text : normalizeAnswer;
  const ours = read(onOneLine(answer));
  const given = theirs.filter((text) => read(text) === ours).length;
  const leavingOneWhoGaveIt = Math.min(1, (given - 1) / 3);
  const leavingAnother = Math.min(1, given / 3);
  return given === 0 ? 0 : (given * leavingOneWhoGaveIt + (theirs.length - given) * leavingAnother) / theirs.length;
}

/**
 * VQA accuracy by the official protocol, over all questions and for each type of answer and of question.
 * `predictions`: one answer for each question, by its id. Throws InputError unless there is exactly one for each.
 */
export function vqaAnnotatorAccuracy(
  predictions: ReadonlyMap<number, string>,
  questions: readonly AnnotatedQuestion[],
): VqaAccuracy {
  if (questions.length === 0) throw new InputError('Expected annotations of at least one question, got none.');
  const ids = new Set<number>();
  const overall = new Means();
  const perAnswerType = new Means();
  const perQuestionType = new Means();
  for (const { id, answers, answerType, questionType } of questions) {
    const answer = predictions.get(id);
    if (answer === undefined)
      throw new InputError(`Expected an answer for each question, got none for question ${id}.`);
    if (answers.length === 0)
      throw new InputError(`Expected annotators' answers to each question, got none to question ${id}.`);
    if (ids.has(id)) throw new InputError(`Expected each question once in the annotations, got question ${id} twice.`);
    ids.add(id);
    const accuracy = 100 * annotatorAccuracy(answer, answers);
    overall.add('', accuracy);
    if (answerType !== undefined) perAnswerType.add(answerType, accuracy);
    if (questionType !== undefined) perQuestionType.add(questionType, accuracy);
  }
  for (const id of predictions.keys()) {
    if (!ids.has(id))
      throw new InputError(`Expected annotations for each answered question, got none for question ${id}.`);
  }
  return {
    overall: overall.values()[''],
    perAnswerType: perAnswerType.values(),
    perQuestionType: perQuestionType.values(),
    questions: questions.length,
  };
}

/** The label's value for an answer that so many of ten annotators gave, as VQA models are trained. */
export function answerScore(count: number): number {
  return [0, 0.3, 0.6, 0.9][count] ?? 1;
}

/**
 * Training labels of a question: of the answers that have a class, each once and in the order in which they were given,
 * the class and its value. As the reference does it, answers are looked up as the annotators wrote them.
 */
export function softLabels(
  answers: readonly string[],
  classes: ReadonlyMap<string, number>,
): { labels: number[]; scores: number[] } {
  const counts = new Map<number, number>();
  for (const answer of answers) {
    const label = classes.get(answer);
    if (label !== undefined) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return { labels: [...counts.keys()], scores: [...counts.values()].map(answerScore) };
}

const onOneLine = (text: string) => strip(text.replace(/[\n\t]/g, ' '));

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Means of values by name. */
class Means {
  private readonly sums = new Map<string, { sum: number; count: number }>();

  add(name: string, value: number): void {
    const { sum, count } = this.sums.get(name) ?? { sum: 0, count: 0 };
    this.sums.set(name, { sum: sum + value, count: count + 1 });
  }

  values(): Record<string, number> {
    return Object.fromEntries([...this.sums].map(([name, { sum, count }]) => [name, sum / count]));
  }
}

/** The emoji benchmark as the joint model takes it: tokenizer, training data and the parts that are measured. */

import type { Generator } from '../../../core/random.js';
import { parseConfig } from '../../config.js';
import { Tokenizer } from '../../tokenizer/index.js';
import {
  type Chance,
  chance,
  type EmojiBenchmark,
  type EmojiBenchmarkOptions,
  type EmojiNlvr2Example,
  EmojiQuestions,
  EmojiSentences,
  type EmojiVqaExample,
  emojiBenchmark,
  evaluationSet,
  MEASURED_SPLITS,
  type MeasuredSplit,
  trainBenchmarkTokenizer,
} from '../benchmark/index.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import { emojiTexts } from '../text.js';
import { emojiModelSpec } from '../train.js';
import type { JointData, JointPair, JointQuestion } from './data.js';
import type { JointSplit } from './evaluate.js';
import type { JointSpec } from './model.js';
import { RECIPE } from './recipe.js';

export interface PreparedBenchmark {
  readonly tokenizer: Tokenizer;
  /** Its file. */
  readonly spm: Uint8Array;
  readonly classes: readonly string[];
  readonly classOf: (entry: EmojiEntry) => number | undefined;
  readonly answers: readonly string[];
  readonly data: JointData;
  readonly splits: ReadonlyMap<MeasuredSplit, JointSplit & { readonly chance: Chance }>;
}

/** Prepares a corpus. The tokenizer sees texts of the training part only; equal corpora give equal bytes. */
export function prepareBenchmark(
  corpus: EmojiCorpus,
  vocabularySize: number,
  options: EmojiBenchmarkOptions = {},
): PreparedBenchmark {
  const benchmark = emojiBenchmark(corpus, options);
  const spm = trainBenchmarkTokenizer(benchmark, { vocabularySize }).bytes;
  return { spm, ...prepareWith(benchmark, corpus, Tokenizer.fromBytes(spm)) };
}

/** The same with a tokenizer that is there already. */
export function prepareWith(
  benchmark: EmojiBenchmark,
  corpus: EmojiCorpus,
  tokenizer: Tokenizer,
): Omit<PreparedBenchmark, 'spm'> {
  const { train, classes, classOf, answers, answerOf } = benchmark;
  const questions = new EmojiQuestions(train);
  const sentences = new EmojiSentences(train);
  const byHexcode = new Map<string, EmojiEntry[]>();
  for (const entry of train) {
    const same = byHexcode.get(entry.hexcode);
    if (same) same.push(entry);
    else byHexcode.set(entry.hexcode, [entry]);
  }
  const idsOf = (text: string): number[] => tokenizer.encode(text).ids;
  const question = ({ entry, question, answer }: EmojiVqaExample): JointQuestion => ({
    entry,
    ids: idsOf(question),
    answer: answerOf(answer),
  });
  type Pair = Pick<EmojiNlvr2Example, 'left' | 'right' | 'sentence' | 'label'>;
  const pair = ({ left, right, sentence, label }: Pair): JointPair => ({
    first: left,
    second: right,
    ids: idsOf(sentence),
    isTrue: label,
  });

  const data: JointData = {
    corpus,
    emoji: Array.from(byHexcode.values(), (entries) => ({
      entries,
      texts: emojiTexts(entries[0]).map(idsOf),
      label: classOf(entries[0]),
    })),
    drawQuestions: (count, generator, statements) => {
      const drawn = questions.draw(count, generator);
      const asked = statements > 0 ? asStatements(drawn, statements, generator) : drawn;
      return asked.map(question);
    },
    drawPairs: (count, generator, statements) => {
      const drawn = sentences.draw(count, generator);
      if (statements === 0) return drawn.map(pair);
      // About one question in two can be put as a sentence.
      const twins = asTwins(questions.draw(2 * count, generator), generator);
      const random = generator.uniform(drawn.length);
      return drawn.map((example, i) => (random[i] < statements && twins.pop()) || example).map(pair);
    },
    answers: answers.length,
    special: tokenizer,
  };
  const splits = MEASURED_SPLITS.map((name): [MeasuredSplit, JointSplit & { chance: Chance }] => {
    const set = evaluationSet(benchmark, name);
    const { entries } = set;
    const split = { entries, questions: set.questions.map(question), pairs: set.pairs.map(pair) };
    return [name, { ...split, chance: chance(benchmark, set) }];
  });
  return { tokenizer, classes, classOf, answers, data, splits: new Map(splits) };
}

/** The sentences of NLVR2, said of one picture, and whether the thing must be there for them to be true. */
const STATEMENTS: readonly (readonly [begin: string, shown: boolean])[] = [
  ['the left picture shows', true],
  ['the right picture shows', true],
  ['one of the pictures shows', true],
  ['exactly one picture shows', true],
  ['both pictures show', true],
  ['neither picture shows', false],
];

/** Those that are clear of one picture twice. */
const OF_TWINS = ['the left picture shows', 'the right picture shows', 'both pictures show', 'neither picture shows'];

/** The questions `is this ...?` as sentences about their picture, shown twice. */
export function asTwins(
  questions: readonly EmojiVqaExample[],
  generator: Generator,
): Pick<EmojiNlvr2Example, 'left' | 'right' | 'sentence' | 'label'>[] {
  return asStatements(questions, 1, generator)
    .filter(({ question }) => OF_TWINS.some((begin) => question.startsWith(begin)))
    .map(({ entry, question, answer }) => ({ left: entry, right: entry, sentence: question, label: answer === 'yes' }));
}

/** Some of the questions `is this ...?` in the words of NLVR2, still to be answered with yes or no. */
export function asStatements(
  questions: readonly EmojiVqaExample[],
  share: number,
  generator: Generator,
): EmojiVqaExample[] {
  const random = generator.uniform(2 * questions.length);
  return questions.map((example, i) => {
    const name = /^is this (.+)\?$/.exec(example.question)?.[1];
    const isYes = example.answer === 'yes';
    if (name === undefined || (!isYes && example.answer !== 'no') || random[2 * i] >= share) return example;
    const [begin, shown] = STATEMENTS[Math.floor(random[2 * i + 1] * STATEMENTS.length)];
    return { ...example, question: `${begin} ${name}.`, answer: isYes === shown ? 'yes' : 'no' };
  });
}

/** The shipped model's sizes, with as many classes and answers as the benchmark has. */
export function specOfRecipe({
  tokenizer,
  classes,
  answers,
}: Pick<PreparedBenchmark, 'tokenizer' | 'classes' | 'answers'>): JointSpec {
  const { width, layers, size, patch } = RECIPE;
  const { config } = emojiModelSpec({ width, layers, size, patch, vocabulary: tokenizer.vocabularySize });
  // One encoder for all tasks: also for those whose official models end without a LayerNorm.
  const joint = parseConfig({ normalize_output: true }, 'The recipe', config);
  return { config: joint, classes: classes.length, answers: answers.length };
}

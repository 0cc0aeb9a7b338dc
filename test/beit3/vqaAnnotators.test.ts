import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vqaSubmission } from '../../beit3/metrics/submissions.js';
import {
  annotatorAccuracy,
  answerScore,
  readVqaAnnotations,
  softLabels,
  vqaAnnotatorAccuracy,
} from '../../beit3/metrics/vqaAnnotators.js';
import { InputError } from '../../core/errors.js';
import { readJson } from '../support/fixtures.js';

const near = (got: number, wanted: number, tolerance = 1e-12) =>
  assert.ok(Math.abs(got - wanted) <= tolerance, `expected ${wanted}, got ${got}`);

/** Ten answers: `count` times the first, then others. */
const ten = (answer: string, count: number) => Array.from({ length: 10 }, (_, i) => (i < count ? answer : `other${i}`));

const refuses = (run: () => unknown, message: RegExp) =>
  assert.throws(run, (e) => e instanceof InputError && message.test(e.message));

test('agreement of 1, 2, 3, 4 of ten annotators', () => {
  const wanted = [0, 0.3, 0.6, 0.9, 1, 1];
  wanted.forEach((accuracy, count) => {
    near(annotatorAccuracy('red', ten('red', count)), accuracy);
  });
});

test('the training label of an answer is what the protocol gives it', () => {
  for (let count = 0; count <= 10; count++) near(answerScore(count), annotatorAccuracy('red', ten('red', count)));
});

test('answers are normalised unless all annotators agree', () => {
  assert.equal(annotatorAccuracy('The Dog!', [...ten('a dog', 9)]), 1);
  assert.equal(annotatorAccuracy('The Dog!', ten('dog', 10)), 0);
  assert.equal(annotatorAccuracy(' dog\n', ten('dog', 10)), 1);
  assert.equal(annotatorAccuracy('two', [...Array(5).fill('2'), ...Array(5).fill('two')]), 1);
  // Tabs and line feeds are spaces before answers are compared; they may join the agreement.
  assert.equal(annotatorAccuracy('Dog', [...Array(9).fill('dog'), '\tdog']), 0);
});

test('an empty answer is an answer', () => {
  assert.equal(annotatorAccuracy('', ten('yes', 4)), 0);
  // Nothing is left of an article.
  assert.equal(annotatorAccuracy('', ten('the', 4)), 1);
});

test('unicode answers are compared in lower case', () => {
  assert.equal(annotatorAccuracy('ÉTÉ', ten('été', 5)), 1);
});

interface Corpus {
  readonly annotations: readonly unknown[];
  readonly answers: readonly (readonly [number, string])[];
  readonly overall: number;
  readonly perAnswerType: Record<string, number>;
  readonly perQuestionType: Record<string, number>;
}

/** Random annotations scored by the evaluation code of VQA, rounded to nine places. */
test('random annotations score as with the official evaluation, by type too', async () => {
  const corpora = await readJson<readonly Corpus[]>('vqa_annotators.json');
  assert.equal(corpora.length, 8);
  for (const { annotations, answers, overall, perAnswerType, perQuestionType } of corpora) {
    const got = vqaAnnotatorAccuracy(new Map(answers), readVqaAnnotations({ annotations }));
    near(got.overall, overall, 1e-9);
    for (const [type, accuracy] of Object.entries(perAnswerType)) near(got.perAnswerType[type], accuracy, 1e-9);
    for (const [type, accuracy] of Object.entries(perQuestionType)) near(got.perQuestionType[type], accuracy, 1e-9);
    assert.deepEqual(Object.keys(got.perAnswerType).sort(), Object.keys(perAnswerType).sort());
    assert.equal(got.questions, answers.length);
  }
});

test('annotations without types give no breakdown', () => {
  const questions = readVqaAnnotations({ annotations: [{ question_id: 3, answers: [{ answer: 'yes' }] }] });
  const got = vqaAnnotatorAccuracy(new Map([[3, 'no']]), questions);
  assert.deepEqual(got, { overall: 0, perAnswerType: {}, perQuestionType: {}, questions: 1 });
});

test('answers and annotations must be of the same questions', () => {
  const question = { id: 1, answers: ten('yes', 10) };
  refuses(() => vqaAnnotatorAccuracy(new Map(), [question]), /an answer for each question, got none for question 1/);
  refuses(() => vqaAnnotatorAccuracy(new Map(), []), /annotations of at least one question/);
  refuses(() => vqaAnnotatorAccuracy(new Map([[1, 'a']]), [{ id: 1, answers: [] }]), /annotators' answers to each/);
  refuses(() => vqaAnnotatorAccuracy(new Map([[1, 'a']]), [question, question]), /question 1 twice/);
  const answers = new Map([
    [1, 'yes'],
    [2, 'no'],
  ]);
  refuses(
    () => vqaAnnotatorAccuracy(answers, [question]),
    /annotations for each answered question, got none for question 2/,
  );
});

test('a file that is no annotation file is refused', () => {
  for (const content of [null, [], 'x', {}, { annotations: {} }]) {
    refuses(() => readVqaAnnotations(content), /Expected a VQA annotation file with a list "annotations"/);
  }
  const items = [null, {}, { question_id: '1', answers: [{ answer: 'a' }] }, { question_id: 1, answers: [] }];
  for (const item of [...items, { question_id: 1, answers: [{}] }, { question_id: 1, answers: ['a'] }]) {
    refuses(() => readVqaAnnotations({ annotations: [item] }), /at position 0/);
  }
});

test('soft labels are the counts of answers that have a class, as written', () => {
  const classes = new Map([
    ['yes', 3],
    ['no', 0],
    ['maybe', 7],
  ]);
  assert.deepEqual(softLabels(['no', 'yes', 'yes', 'Yes', 'unheard of', 'yes', 'yes', 'maybe', 'maybe'], classes), {
    labels: [0, 3, 7],
    scores: [0.3, 1, 0.6],
  });
  assert.deepEqual(softLabels(['constructor'], classes), { labels: [], scores: [] });
});

test('the submission of answers holds each question once', () => {
  assert.deepEqual(
    vqaSubmission([
      [5, 'yes'],
      [1, 'no'],
      [5, 'no'],
    ]),
    [
      { question_id: 5, answer: 'yes' },
      { question_id: 1, answer: 'no' },
    ],
  );
});

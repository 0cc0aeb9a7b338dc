import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalizeAnswer } from '../../beit3/metrics/answers.js';
import { readJson } from '../support/fixtures.js';

type Cases = readonly (readonly [text: string, normalized: string])[];

test("answers are normalised as in the reference's examples", async () => {
  const { normalize_word } = await readJson<{ readonly normalize_word: Cases }>('schedules_answers.json');
  assert.equal(normalize_word.length, 21);
  for (const [text, wanted] of normalize_word) assert.equal(normalizeAnswer(text), wanted, JSON.stringify(text));
});

/** What the official normalize_word returns for both columns of its contraction table and for random texts. */
test('answers are normalised as by the official function: contractions, punctuation, spaces', async () => {
  const cases = await readJson<Cases>('answers.json');
  assert.equal(cases.length, 400);
  for (const [text, wanted] of cases) assert.equal(normalizeAnswer(text), wanted, JSON.stringify(text));
});

test('normalising keeps no memory of earlier answers', () => {
  for (const word of ['constructor', '__proto__', 'a', 'none', 'None.']) normalizeAnswer(word);
  assert.equal(normalizeAnswer('constructor __proto__ None'), 'constructor proto 0');
  assert.equal(normalizeAnswer(''), '');
  assert.equal(normalizeAnswer('the a an'), '');
});

test('a comma between digits takes all punctuation out; elsewhere it becomes a space', () => {
  assert.equal(normalizeAnswer('1,000-2'), '10002');
  assert.equal(normalizeAnswer('red,blue'), 'red blue');
  assert.equal(normalizeAnswer('red, blue/green'), 'red blue green');
});

test('only the first 32 periods go, as in the original', () => {
  assert.equal(normalizeAnswer('.'.repeat(40)), '.'.repeat(8));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { topKAccuracy } from '../../beit3/metrics/accuracy.js';
import { nlvr2Scores } from '../../beit3/metrics/nlvr2.js';
import { InputError } from '../../core/errors.js';

const refuses = (run: () => unknown, message: RegExp) =>
  assert.throws(run, (e) => e instanceof InputError && message.test(e.message));

test('a label counts when it is among the best k', () => {
  const logits = [3, 2, 1, 0, 0, 1, 2, 3];
  assert.deepEqual(topKAccuracy(logits, [0, 0], 4, [1, 2, 3, 4]), [50, 50, 50, 100]);
  assert.deepEqual(topKAccuracy(logits, [1, 1], 4, [1, 2, 3, 4]), [0, 50, 100, 100]);
  assert.deepEqual(topKAccuracy(logits, [0, 3], 4), [100, 100]);
});

test('of equal logits the earlier class comes first', () => {
  assert.deepEqual(topKAccuracy([1, 1, 1], [0], 3, [1]), [100]);
  assert.deepEqual(topKAccuracy([1, 1, 1], [2], 3, [1, 2, 3]), [0, 0, 100]);
});

test('NaN is never a right answer', () => {
  assert.deepEqual(topKAccuracy([Number.NaN, 0], [0], 2, [1]), [0]);
  assert.deepEqual(topKAccuracy([Number.NaN, 0], [1], 2, [1]), [0]);
  assert.deepEqual(topKAccuracy([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY], [1], 2, [1]), [100]);
});

test('no rows are 0 per cent, and what does not fit is refused', () => {
  assert.deepEqual(topKAccuracy([], [], 10), [0, 0]);
  refuses(() => topKAccuracy([1, 2, 3], [0], 2), /logits of 1 rows with 2 classes each, got 3 numbers/);
  for (const label of [-1, 2, 0.5]) refuses(() => topKAccuracy([1, 2], [label], 2), /labels from 0 to 1/);
});

test('a sentence is consistent when it is judged rightly of all its pairs', () => {
  const labels = new Map([
    ['dev-1-0-0', true],
    ['dev-1-1-0', false],
    // Another sentence of the same set, and the same numbers in another split.
    ['dev-1-0-1', true],
    ['test1-1-0-0', true],
  ]);
  const right = new Map(labels);
  assert.deepEqual(nlvr2Scores(right, labels), { accuracy: 100, consistency: 100, examples: 4, sentences: 3 });
  for (const wrong of ['dev-1-0-0', 'dev-1-1-0']) {
    const one = new Map(labels).set(wrong, !labels.get(wrong));
    assert.deepEqual(nlvr2Scores(one, labels), { accuracy: 75, consistency: 200 / 3, examples: 4, sentences: 3 });
  }
  const both = new Map(labels).set('dev-1-0-0', false).set('dev-1-1-0', true);
  assert.deepEqual(nlvr2Scores(both, labels), { accuracy: 50, consistency: 200 / 3, examples: 4, sentences: 3 });
});

test('NLVR2: predictions may be of more examples, not of fewer; identifiers have four parts', () => {
  const labels = new Map([['dev-1-0-0', true]]);
  const more = new Map([
    ['dev-1-0-0', true],
    ['dev-9-0-0', false],
  ]);
  assert.equal(nlvr2Scores(more, labels).accuracy, 100);
  refuses(() => nlvr2Scores(new Map(), labels), /a prediction for each NLVR2 example, got none for dev-1-0-0/);
  refuses(() => nlvr2Scores(new Map(), new Map()), /labels of at least one NLVR2 example/);
  for (const identifier of ['dev', 'dev-1-0', 'dev-1--0', 'dev-1-0-0-1']) {
    const one = new Map([[identifier, true]]);
    refuses(() => nlvr2Scores(one, one), /identifiers of the form split-set-pair-sentence/);
  }
});

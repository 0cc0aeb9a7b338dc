import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RecallInput, retrievalRecall } from '../../beit3/metrics/retrieval.js';
import { vqaScore } from '../../beit3/metrics/vqa.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';

/** One-dimensional features: similarities are products. */
const recall = (images: number[], texts: number[], imageIds: number[], textImageIds: number[]) =>
  retrievalRecall({
    imageFeatures: Float32Array.from(images),
    textFeatures: Float32Array.from(texts),
    imageIds,
    textImageIds,
    dimension: 1,
  });

test('vqaScore is the mean label of the best answers', () => {
  assert.equal(vqaScore([0, 2, 1, 5, -1, 3], [1, 0.25, 0, 0.75, 1, 1], 3), 0.5);
});

test('vqaScore: of equal logits the first answer counts', () => {
  assert.equal(vqaScore([1, 1, 1], [0.5, 1, 0], 3), 0.5);
  assert.equal(vqaScore([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY], [0.5, 1], 2), 0.5);
});

test('vqaScore of no rows is 0', () => {
  assert.equal(vqaScore([], [], 4), 0);
});

test('recall: identical orders give 100 per cent', () => {
  const eye = (n: number) => Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  const ids = Array.from({ length: 12 }, (_, i) => 7 * i);
  const input: RecallInput = {
    imageFeatures: eye(12),
    textFeatures: eye(12),
    imageIds: ids,
    textImageIds: ids,
    dimension: 12,
  };
  assert.deepEqual(Object.values(retrievalRecall(input)), new Array(7).fill(100));
});

test('recall in both directions, with several texts for an image', () => {
  // Image 1 (value 1) prefers text 2; image 2 (value -1) prefers text 0. Texts 0 and 1 belong to image 1.
  const got = recall([1, -1], [-1, 0.5, 2], [1, 2], [1, 1, 2]);
  assert.deepEqual([got.tr_r1, got.tr_r5], [0, 100]);
  // Text 0 prefers image 2 (wrong), text 1 prefers image 1 (right), text 2 image 1 (wrong).
  assert.deepEqual([got.ir_r1, got.ir_r5], [100 / 3, 100]);
  assert.ok(Math.abs(got.average_score - (0 + 100 + 100 + 100 / 3 + 100 + 100) / 6) < 1e-12);
});

test('recall: of equal similarities the earlier candidate wins', () => {
  assert.equal(recall([1], [1, 1], [5], [5, 6]).tr_r1, 100);
  assert.equal(recall([1], [1, 1], [5], [6, 5]).tr_r1, 0);
  // The best of an image's own texts decides: the one at position 1, behind one equal.
  assert.equal(recall([1], [1, 1, 1], [5], [6, 5, 5]).tr_r1, 0);
});

test('recall: five, and ten, are inclusive', () => {
  const texts = Array.from({ length: 11 }, (_, i) => 11 - i);
  const at = (rank: number) =>
    recall(
      [1],
      texts,
      [0],
      texts.map((_, i) => (i === rank - 1 ? 0 : 1)),
    );
  assert.deepEqual([at(5).tr_r5, at(6).tr_r5, at(6).tr_r10], [100, 0, 100]);
  assert.deepEqual([at(10).tr_r10, at(11).tr_r10], [100, 0]);
});

test('recall: an image without a text is never found, and nothing is 0 per cent', () => {
  assert.equal(recall([1, 1], [1], [3, 4], [3]).tr_r10, 50);
  assert.equal(recall([], [], [], []).average_score, 0);
});

test('recall agrees with sorting all candidates', () => {
  const generator = new Generator(4);
  const [images, texts, D] = [9, 23, 5];
  // Coarse numbers, so that there are many ties.
  const draw = (count: number) => Float32Array.from(generator.integers(count, -1, 2));
  const [imageFeatures, textFeatures] = [draw(images * D), draw(texts * D)];
  const imageIds = Array.from({ length: images }, (_, i) => i);
  const textImageIds = Array.from(generator.integers(texts, 0, images));
  const dot = (i: number, t: number) =>
    imageIds.slice(0, D).reduce((s, _, d) => s + imageFeatures[i * D + d] * textFeatures[t * D + d], 0);
  const share = (
    n: number,
    m: number,
    score: (q: number, c: number) => number,
    right: (q: number, c: number) => boolean,
  ) =>
    [1, 5, 10].map((k) => {
      let hits = 0;
      for (let q = 0; q < n; q++) {
        const order = Array.from({ length: m }, (_, c) => c).sort((a, b) => score(q, b) - score(q, a) || a - b);
        if (order.slice(0, k).some((c) => right(q, c))) hits++;
      }
      return (100 * hits) / n;
    });
  const wanted = [
    ...share(images, texts, dot, (i, t) => textImageIds[t] === i),
    ...share(
      texts,
      images,
      (t, i) => dot(i, t),
      (t, i) => textImageIds[t] === i,
    ),
  ];
  const got = Object.values(retrievalRecall({ imageFeatures, textFeatures, imageIds, textImageIds, dimension: D }));
  assert.deepEqual(got.slice(0, 6), wanted);
});

test('recall refuses features that do not fit the ids', () => {
  assert.throws(
    () => recall([1, 2, 3], [1], [0], [0]),
    (e) => e instanceof InputError && /Expected features of 1 images/.test(e.message),
  );
});

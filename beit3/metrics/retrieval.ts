import { InputError } from '../../core/errors.js';

/** Recalls in per cent: `tr` finds texts for images, `ir` images for texts, among the best 1, 5 and 10. */
export interface RetrievalRecall {
  readonly tr_r1: number;
  readonly tr_r5: number;
  readonly tr_r10: number;
  readonly ir_r1: number;
  readonly ir_r5: number;
  readonly ir_r10: number;
  /** Mean of the six. */
  readonly average_score: number;
}

export interface RecallInput {
  /** [images, D], unit vectors. */
  readonly imageFeatures: Float32Array;
  /** [texts, D], unit vectors. */
  readonly textFeatures: Float32Array;
  /** Image of each row of imageFeatures. */
  readonly imageIds: ArrayLike<number>;
  /** Image that each text describes. */
  readonly textImageIds: ArrayLike<number>;
  readonly dimension: number;
}

const RANKS = [1, 5, 10] as const;

/** Recall at 1, 5 and 10 in both directions, as the reference evaluates COCO and Flickr30k. */
export function retrievalRecall({
  imageFeatures,
  textFeatures,
  imageIds,
  textImageIds,
  dimension: D,
}: RecallInput): RetrievalRecall {
  const images = imageIds.length;
  const texts = textImageIds.length;
  if (images * D !== imageFeatures.length || texts * D !== textFeatures.length) {
    throw new InputError(
      `Expected features of ${images} images and ${texts} texts with ${D} numbers each, got ${imageFeatures.length} and ${textFeatures.length} numbers.`,
    );
  }
  const dots = (query: Float32Array, q: number, candidates: Float32Array) =>
    Float32Array.from({ length: candidates.length / D }, (_, c) => {
      let dot = 0;
      for (let d = 0; d < D; d++) dot += query[q * D + d] * candidates[c * D + d];
      return dot;
    });
  return recallOfRanks(
    Array.from(imageIds, (id, i) => rankOfBest(dots(imageFeatures, i, textFeatures), id, textImageIds)),
    Array.from(textImageIds, (id, t) => rankOfBest(dots(textFeatures, t, imageFeatures), id, imageIds)),
  );
}

/**
 * Place, from 0, of the best candidate with the query's id when candidates are sorted by falling score, the earlier
 * first of equal ones; -1 where none has the id.
 */
export function rankOfBest(scores: ArrayLike<number>, id: number, candidateIds: ArrayLike<number>): number {
  let best = -1;
  for (let c = 0; c < scores.length; c++) {
    if (candidateIds[c] === id && (best < 0 || scores[c] > scores[best])) best = c;
  }
  if (best < 0) return -1;
  let rank = 0;
  for (let c = 0; c < scores.length; c++) {
    if (scores[c] > scores[best] || (scores[c] === scores[best] && c < best)) rank++;
  }
  return rank;
}

/** Recalls from the ranks that rankOfBest gives: of images as queries for texts, and of texts as queries for images. */
export function recallOfRanks(ofImages: readonly number[], ofTexts: readonly number[]): RetrievalRecall {
  const share = (ranks: readonly number[], within: number) =>
    (100 * ranks.filter((rank) => rank >= 0 && rank < within).length) / Math.max(1, ranks.length);
  const tr = RANKS.map((r) => share(ofImages, r));
  const ir = RANKS.map((r) => share(ofTexts, r));
  return {
    tr_r1: tr[0],
    tr_r5: tr[1],
    tr_r10: tr[2],
    ir_r1: ir[0],
    ir_r5: ir[1],
    ir_r10: ir[2],
    average_score: [...tr, ...ir].reduce((a, b) => a + b) / 6,
  };
}

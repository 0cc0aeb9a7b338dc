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
  const similarity = new Float32Array(images * texts);
  for (let i = 0; i < images; i++) {
    for (let t = 0; t < texts; t++) {
      let dot = 0;
      for (let d = 0; d < D; d++) dot += imageFeatures[i * D + d] * textFeatures[t * D + d];
      similarity[i * texts + t] = dot;
    }
  }
  const tr = recallAt(
    images,
    texts,
    (i, t) => similarity[i * texts + t],
    (i, t) => imageIds[i] === textImageIds[t],
  );
  const ir = recallAt(
    texts,
    images,
    (t, i) => similarity[i * texts + t],
    (t, i) => imageIds[i] === textImageIds[t],
  );
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

/** Share of queries, in per cent, with a right candidate among their best 1, 5 and 10; ties go to the earlier one. */
function recallAt(
  queries: number,
  candidates: number,
  score: (query: number, candidate: number) => number,
  right: (query: number, candidate: number) => boolean,
): number[] {
  const hits = RANKS.map(() => 0);
  for (let q = 0; q < queries; q++) {
    let best = -1;
    for (let c = 0; c < candidates; c++) if (right(q, c) && (best < 0 || score(q, c) > score(q, best))) best = c;
    if (best < 0) continue;
    let rank = 0;
    for (let c = 0; c < candidates; c++) {
      const s = score(q, c);
      if (s > score(q, best) || (s === score(q, best) && c < best)) rank++;
    }
    RANKS.forEach((r, k) => {
      if (rank < r) hits[k]++;
    });
  }
  return hits.map((h) => (100 * h) / Math.max(1, queries));
}

import { InputError } from '../../core/errors.js';

/**
 * Number of rows whose label is among the k classes of the largest logits, for each k: 1 and 5 by default. `logits`
 * [rows, classes], `labels` [rows] class numbers. Of equal logits the earlier class comes first; a row with a NaN before
 * its label's rank counts as wrong.
 */
export function topKHits(
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
  ks: readonly number[] = [1, 5],
): number[] {
  if (logits.length !== labels.length * classes) {
    throw new InputError(
      `Expected logits of ${labels.length} rows with ${classes} classes each, got ${logits.length} numbers.`,
    );
  }
  const hits = ks.map(() => 0);
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row];
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new InputError(`Expected labels from 0 to ${classes - 1}, got ${label} in row ${row}.`);
    }
    const own = logits[row * classes + label];
    let rank = 0;
    for (let c = 0; c < classes; c++) {
      const other = logits[row * classes + c];
      const isBehind = other < own || (other === own && c >= label);
      if (!isBehind) rank++;
    }
    ks.forEach((k, i) => {
      if (rank < k) hits[i]++;
    });
  }
  return hits;
}

/** Share of rows, in per cent, that topKHits counts: acc@1 and acc@5 by default. No rows give 0. */
export function topKAccuracy(
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
  ks?: readonly number[],
): number[] {
  return topKHits(logits, labels, classes, ks).map((count) => (100 * count) / Math.max(1, labels.length));
}

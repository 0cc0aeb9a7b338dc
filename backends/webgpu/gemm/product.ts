/** What a product is: sizes, where its operands lie, and what happens to each element of the result. */
import type { View } from '../../../core/backend.js';

/** A or B: element (outer, k) lies at offset + outer * `outer` + k * `step`; `outer` counts rows of A or columns of B. */
export interface Factor {
  readonly view: View;
  readonly outer: number;
  readonly step: number;
  /** Strides of the batch axes. */
  readonly batch: readonly number[];
}

/**
 * Two products in one launch. Rows of x [B, all, K] before `before` meet B, the others `second` (`along` rows); or the
 * depth is so divided, and there are two results (`along` depth).
 */
export interface Split {
  readonly along: 'rows' | 'depth';
  readonly before: number;
  readonly all: number;
}

/** y[z, m, n] = residual + act(bias[n] + sum over k of a[z, m, k] b[z, k, n]), y contiguous. */
export interface Product {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Sizes of the batch axes. */
  readonly batch: readonly number[];
  readonly a: Factor;
  readonly b: Factor;
  /** B of the rows from the split on; it lies like `b`. */
  readonly second?: View;
  readonly split?: Split;
  readonly y: View;
  /** With a split along the depth: the second result. */
  readonly ySecond?: View;
  /** [N] */
  readonly bias?: View | null;
  readonly biasSecond?: View | null;
  readonly gelu?: boolean;
  /** Gets the slope of the activation. */
  readonly slope?: View;
  /** Like y. */
  readonly residual?: View | null;
  /** Get the sums of A over the depth, [M]. */
  readonly sums?: View;
  readonly sumsSecond?: View;
}

/** Products that one launch makes beside each other: batch elements, or both parts of a split depth. */
export const layers = (product: Product): number =>
  product.split?.along === 'depth' ? 2 : product.batch.reduce((n, d) => n * d, 1);

/** Rows, or steps of the depth, of both parts of a split. */
export function parts({ before, all }: Split, total: number): [number, number] {
  const first = (total / all) * before;
  return [first, total - first];
}

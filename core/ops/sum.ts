import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { normalizeAxes, sizeOf } from '../layout.js';
import { defineOp, type Flat, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { expand } from './expand.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { walk } from './walk.js';

export interface ReduceAttrs {
  /** Axes that go, counted from the front, sorted. */
  readonly axes: readonly number[];
  /** Whether they stay with size 1. */
  readonly keepDims: boolean;
}

/** The shape after a reduction. */
export function reducedShape(shape: readonly number[], { axes, keepDims }: ReduceAttrs): number[] {
  return shape.flatMap((d, i) => (!axes.includes(i) ? [d] : keepDims ? [1] : []));
}

/** Visits every element of a reduction's input with the position of the result that it belongs to. */
export function forEachReduced(x: Flat, axes: readonly number[], visit: (value: number, to: number) => void): void {
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const steps = x.shape.map((_, i) => (axes.includes(i) ? 0 : sizeOf(kept.slice(i + 1))));
  walk(x.shape, steps, (position, to) => {
    visit(x.values[position], to);
  });
}

const op = defineOp<ReduceAttrs>({
  name: 'sum',
  infer(inputs: readonly SpecOrNull[], attrs): readonly Spec[] {
    const x = need('sum', inputs, 0);
    return [{ shape: reducedShape(x.shape, attrs), dtype: isFloat(x.dtype) ? x.dtype : 'int32' }];
  },
  reference([x], [y], { axes }) {
    forEachReduced(x as Flat, axes, (value, to) => {
      y.values[to] += value;
    });
  },
  vjp: {
    back: ([g], _, attrs, [x]) => [
      () => {
        const shape = (x as Spec).shape;
        return expand(reshape(g as Tensor, reducedShape(shape, { ...attrs, keepDims: true })), shape);
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [3, 4, 5] }], attrs: { axes: [0, 2], keepDims: true } },
    { inputs: [{ shape: [3, 4, 5] }], attrs: { axes: [1], keepDims: false } },
    { inputs: [{ shape: [6] }], attrs: { axes: [0], keepDims: false } },
  ],
});

/** Sum over `axes` (default: all); the axes go unless `keepDims`. */
export function sum(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  return call1(op, [x], { axes: normalizeAxes('sum', axes, x.rank), keepDims });
}

import type { Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { OpError } from '../errors.js';
import { formatShape, normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { cast } from './cast.js';
import { scatterAdd } from './gather.js';
import { neg } from './neg.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { reducedShape } from './sum.js';
import { around, forEachLine } from './walk.js';

export interface AxisAttrs {
  readonly axis: number;
  readonly keepDims: boolean;
}

/** A maximum and where along the axis it lies. */
export interface Extreme {
  readonly values: Tensor;
  /** int32. */
  readonly indices: Tensor;
}

/** The shape and dtype of what lies along an axis that must not be empty. */
export function lineSpec(op: string, inputs: readonly SpecOrNull[], { axis, keepDims }: AxisAttrs): Spec {
  const x = need(op, inputs, 0);
  if (x.shape[axis] === 0) throw new OpError(op, `expected elements along axis ${axis}, got ${formatShape(x.shape)}`);
  return { shape: reducedShape(x.shape, { axes: [axis], keepDims }), dtype: x.dtype };
}

/** Finds the first maximum (or NaN) of every line. */
export function forEachMaximum(
  x: Flat,
  axis: number,
  visit: (line: number, value: number, index: number) => void,
): void {
  const { length, inner } = around(x.shape, axis);
  forEachLine(x.shape, axis, (first, line) => {
    let index = 0;
    for (let i = 1; i < length; i++) {
      const best = x.values[first + index * inner];
      const value = x.values[first + i * inner];
      if (value > best || (Number.isNaN(value) && !Number.isNaN(best))) index = i;
    }
    visit(line, x.values[first + index * inner], index);
  });
}

const op = defineOp<AxisAttrs>({
  name: 'max',
  infer(inputs, attrs) {
    const spec = lineSpec('max', inputs, attrs);
    return [spec, { shape: spec.shape, dtype: 'int32' }];
  },
  reference([x], [values, indices], { axis }) {
    forEachMaximum(x as Flat, axis, (line, value, index) => {
      values.values[line] = value;
      indices.values[line] = index;
    });
  },
  vjp: {
    saves: (_, [, indices]) => [indices],
    auxiliary: 1,
    back: ([g], [indices], { axis }, [x]) => [
      () => {
        const { shape } = x as Spec;
        const line = reducedShape(shape, { axes: [axis], keepDims: true });
        return scatterAdd(reshape(g as Tensor, line), axis, reshape(indices as Tensor, line), shape);
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [3, 8] }], attrs: { axis: 1, keepDims: false } },
    { inputs: [{ shape: [3, 4, 5] }], attrs: { axis: 1, keepDims: true } },
  ],
});

/** The largest element along `axis` and its index (the first of equals; NaN wins). The gradient goes to that element. */
export function max(x: Tensor, axis: number, keepDims = false): Extreme {
  const [values, indices] = call(op, [x], { axis: normalizeAxis('max', axis, x.rank), keepDims });
  return { values, indices };
}

/** The numbers in the opposite order, and back again: negated, integers also less 1, for -(-2^31) is no int32. */
export function opposite(x: Tensor): Tensor {
  return isFloat(x.dtype) ? neg(x) : affine(cast(x, 'int32'), -1, -1);
}

/** The smallest element along `axis` and its index (the first of equals; NaN wins). */
export function min(x: Tensor, axis: number, keepDims = false): Extreme {
  return scope(() => {
    const { values, indices } = max(opposite(x), axis, keepDims);
    return { values: cast(opposite(values), x.dtype), indices };
  });
}

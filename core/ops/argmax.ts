import { call1 } from '../dispatch.js';
import { normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { type AxisAttrs, forEachMaximum, lineSpec, opposite } from './max.js';
import { reshape } from './reshape.js';

const op = defineOp<AxisAttrs>({
  name: 'argmax',
  infer: (inputs, attrs) => [{ shape: lineSpec('argmax', inputs, attrs).shape, dtype: 'int32' }],
  reference([x], [indices], { axis }) {
    forEachMaximum(x as Flat, axis, (line, _, index) => {
      indices.values[line] = index;
    });
  },
  nonDifferentiable: 'its result is an index',
  samples: () => [
    { inputs: [{ shape: [3, 8] }], attrs: { axis: 1, keepDims: false } },
    { inputs: [{ shape: [3, 4, 5] }], attrs: { axis: 0, keepDims: true } },
  ],
});

/** int32 index of the largest element along `axis`, or among all; the first of equals, NaN wins. */
export function argmax(x: Tensor, axis?: number, keepDims = false): Tensor {
  if (axis === undefined) return scope(() => call1(op, [reshape(x, [-1])], { axis: 0, keepDims: false }));
  return call1(op, [x], { axis: normalizeAxis('argmax', axis, x.rank), keepDims });
}

/** int32 index of the smallest element along `axis`, or among all; the first of equals, NaN wins. */
export const argmin = (x: Tensor, axis?: number, keepDims = false): Tensor =>
  scope(() => argmax(opposite(x), axis, keepDims));

import { call1 } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { floatOf, wideType } from './fused.js';

const op = defineOp({
  name: 'globalNorm',
  infer: (inputs) => [{ shape: [], dtype: inputs.length === 0 ? 'float32' : wideType(floatOf('globalNorm', inputs)) }],
  reference(inputs, [y]) {
    let total = 0;
    for (const { values } of inputs as readonly Flat[]) for (const v of values) total += v * v;
    y.values[0] = Math.sqrt(total);
  },
  nonDifferentiable: 'it measures gradients; sum(square(x)) is differentiable',
  cost: (inputs) => inputs.reduce((n, s) => n + 2 * sizeOf(s?.shape ?? [0]), 0),
  samples: () => [{ inputs: [{ shape: [3, 4] }, { shape: [5] }, { shape: [] }], attrs: {} }],
});

/** The L2 norm of all elements of all tensors together: a float32 scalar. */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  return call1(op, tensors, {});
}

import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { sameShape, sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { expectSplit, floatOf, NO_SECOND, splitRows, widen } from './fused.js';
import { linearBackwardWeights, type WeightsAttrs } from './linearBackwardWeights.js';
import type { SplitAttrs } from './multiwayLinearBackwardInput.js';
import { formatSpec, need } from './rules.js';

const NAME = 'multiwayLinearBackwardWeights';

const op = defineOp<SplitAttrs & WeightsAttrs>({
  name: NAME,
  infer(inputs, { split, bias }) {
    const dz = need(NAME, inputs, 0);
    const x = need(NAME, inputs, 1);
    expectSplit(NAME, x, split);
    if (dz.shape.length !== 3 || !sameShape(dz.shape.slice(0, 2), x.shape.slice(0, 2))) {
      throw new OpError(NAME, `expected dz [B, L, N] and x [B, L, K], got ${formatSpec(dz)} and ${formatSpec(x)}`);
    }
    const dtype = floatOf(NAME, inputs);
    const dw = { shape: [dz.shape[2], x.shape[2]], dtype };
    const db = { shape: [dz.shape[2]], dtype };
    return bias ? [dw, dw, db, db] : [dw, dw];
  },
  decompose(inputs, { split, bias }) {
    const [dz, x] = inputs.map((t) => splitRows(widen(t as Tensor), split));
    const [A, B] = [0, 1].map((way) => linearBackwardWeights(dz[way], x[way], bias));
    const results = bias ? [A[0], B[0], A[1], B[1]] : [A[0], B[0]];
    return results.map((t) => cast(t, floatOf(NAME, inputs)));
  },
  nonDifferentiable: NO_SECOND,
  cost: ([dz, x]) => 2 * sizeOf(dz?.shape ?? [0]) * (x?.shape[2] ?? 0),
  samples: () => [
    { inputs: [{ shape: [2, 5, 7] }, { shape: [2, 5, 3] }], attrs: { split: 2, bias: true } },
    { inputs: [{ shape: [1, 4, 3] }, { shape: [1, 4, 6] }], attrs: { split: 3, bias: false } },
  ],
});

/** Gradients of the weights and biases of multiwayLinear: dwA, dwB [N, K] and, with `bias`, dbA, dbB [N]. */
export function multiwayLinearBackwardWeights(dz: Tensor, x: Tensor, split: number, bias: boolean): Tensor[] {
  return call(op, [dz, x], { split, bias });
}

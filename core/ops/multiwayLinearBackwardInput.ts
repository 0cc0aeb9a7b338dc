import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { expectShape, expectSplit, floatOf, joinRows, NO_SECOND, rows, splitRows, widen } from './fused.js';
import { matmul } from './matmul.js';
import { reshape } from './reshape.js';
import { formatSpec, need } from './rules.js';

export interface SplitAttrs {
  /** Rows before it belong to A, the others to B. */
  readonly split: number;
}

const NAME = 'multiwayLinearBackwardInput';

const op = defineOp<SplitAttrs>({
  name: NAME,
  infer(inputs, { split }) {
    const dz = need(NAME, inputs, 0);
    const wA = need(NAME, inputs, 1);
    expectSplit(NAME, dz, split);
    if (wA.shape.length !== 2 || wA.shape[0] !== dz.shape[2]) {
      throw new OpError(NAME, `expected dz [B, L, N] and weights [N, K], got ${formatSpec(dz)} and ${formatSpec(wA)}`);
    }
    expectShape(NAME, 'weight B', need(NAME, inputs, 2), wA.shape);
    return [{ shape: [dz.shape[0], dz.shape[1], wA.shape[1]], dtype: floatOf(NAME, inputs) }];
  },
  decompose(inputs, { split }) {
    const [dz, wA, wB] = inputs.map((t) => widen(t as Tensor));
    const [before, after] = splitRows(dz, split);
    const back = (g: Tensor, w: Tensor) => reshape(matmul(rows(g), w), [g.shape[0], g.shape[1], w.shape[1]]);
    return [cast(joinRows(back(before, wA), back(after, wB)), floatOf(NAME, inputs))];
  },
  nonDifferentiable: NO_SECOND,
  cost: ([dz, w]) => 2 * sizeOf(dz?.shape ?? [0]) * (w?.shape[1] ?? 0),
  samples: () => [{ inputs: [{ shape: [2, 5, 7] }, { shape: [7, 3] }, { shape: [7, 3] }], attrs: { split: 2 } }],
});

/** Gradient of x [B, L, K] of multiwayLinear from dz [B, L, N]. */
export function multiwayLinearBackwardInput(dz: Tensor, wA: Tensor, wB: Tensor, split: number): Tensor {
  return call1(op, [dz, wA, wB], { split });
}

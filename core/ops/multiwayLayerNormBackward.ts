import { call } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { expectSplit, floatOf, joinRows, NO_SECOND, splitRows, widen } from './fused.js';
import { layerNormBackward, normBackwardSpecs } from './layerNormBackward.js';
import type { SplitAttrs } from './multiwayLinearBackwardInput.js';
import { need } from './rules.js';

const NAME = 'multiwayLayerNormBackward';

const op = defineOp<SplitAttrs>({
  name: NAME,
  infer(inputs, { split }) {
    expectSplit(NAME, need(NAME, inputs, 1), split);
    for (const i of [4, 5]) need(NAME, inputs, i);
    return normBackwardSpecs(NAME, inputs, 4);
  },
  decompose(inputs, { split }) {
    const operands = inputs.map((t) => widen(t as Tensor));
    const halves = operands.slice(0, 4).map((t) => splitRows(t, split));
    const [A, B] = [0, 1].map((way) => {
      const [dy, x, mean, rstd] = halves.map((h) => h[way]);
      return layerNormBackward(dy, x, mean, rstd, operands[4 + way]);
    });
    const [dy, x, , , wA, wB] = inputs;
    const dtype = floatOf(NAME, [dy, x, wA, wB]);
    return [joinRows(A[0], B[0]), A[1], A[2], B[1], B[2]].map((t) => cast(t, dtype));
  },
  nonDifferentiable: NO_SECOND,
  cost: ([x]) => 14 * sizeOf(x?.shape ?? [0]),
  samples: () => [
    {
      inputs: [
        { shape: [2, 5, 13] },
        { shape: [2, 5, 13] },
        { shape: [2, 5] },
        { shape: [2, 5], low: 0.5 },
        { shape: [13] },
        { shape: [13] },
      ],
      attrs: { split: 3 },
    },
  ],
});

/** Gradients of multiwayLayerNorm: dx [B, L, D], dwA, dbA, dwB, dbB [D]. */
export function multiwayLayerNormBackward(
  dy: Tensor,
  x: Tensor,
  mean: Tensor,
  rstd: Tensor,
  wA: Tensor,
  wB: Tensor,
  split: number,
): Tensor[] {
  return call(op, [dy, x, mean, rstd, wA, wB], { split });
}

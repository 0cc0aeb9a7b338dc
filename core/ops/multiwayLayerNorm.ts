import { call } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { expectSplit, floatOf, joinRows, once, splitRows, widen, wideType } from './fused.js';
import { type LayerNormAttrs, type LayerNormOptions, layerNorm, normalized, normSpecs } from './layerNorm.js';
import { multiwayLayerNormBackward } from './multiwayLayerNormBackward.js';
import { oneWay } from './multiwayLinear.js';
import type { SplitAttrs } from './multiwayLinearBackwardInput.js';
import { need } from './rules.js';

const NAME = 'multiwayLayerNorm';

const op = defineOp<SplitAttrs & LayerNormAttrs>({
  name: NAME,
  infer(inputs, { split }) {
    expectSplit(NAME, need(NAME, inputs, 0), split);
    for (const i of [1, 2, 3, 4]) need(NAME, inputs, i);
    return normSpecs(NAME, inputs);
  },
  decompose(inputs, { split, eps }) {
    const [x, wA, bA, wB, bB] = inputs.map((t) => widen(t as Tensor));
    const [before, after] = splitRows(x, split);
    const A = normalized(before, wA, bA, eps);
    const B = normalized(after, wB, bB, eps);
    const wide = wideType(x.dtype);
    return [floatOf(NAME, inputs), wide, wide].map((dtype, i) => cast(joinRows(A[i], B[i]), dtype));
  },
  vjp: {
    auxiliary: 1,
    saves: ([x, wA, , wB], [, mean, rstd]) => [x, mean, rstd, wA, wB],
    back([g], saved, { split }) {
      const [x, mean, rstd, wA, wB] = saved as Tensor[];
      const results = once(() => multiwayLayerNormBackward(g as Tensor, x, mean, rstd, wA, wB, split));
      return [0, 1, 2, 3, 4].map((i) => () => results()[i]);
    },
  },
  cost: ([x]) => 8 * sizeOf(x?.shape ?? [0]),
  samples: () => [
    {
      inputs: [{ shape: [2, 5, 13] }, { shape: [13] }, { shape: [13] }, { shape: [13] }, { shape: [13] }],
      attrs: { split: 3, eps: 1e-5 },
    },
  ],
});

/** A layer norm of one modality. */
export interface GainAndBias {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/**
 * layerNorm over x [B, L, D] with the weight and bias [D] of A for rows l < split and of B for the others.
 * Split 0 is all B; split -1 or >= L is all A.
 */
export function multiwayLayerNorm(
  x: Tensor,
  A: GainAndBias,
  B: GainAndBias,
  split: number,
  { eps = 1e-5 }: LayerNormOptions = {},
): Tensor {
  const way = oneWay(NAME, split, x);
  if (way !== null) {
    const { weight, bias } = way === 'A' ? A : B;
    return layerNorm(x, weight, bias, { eps });
  }
  const [y, mean, rstd] = call(op, [x, A.weight, A.bias, B.weight, B.bias], { split, eps });
  mean.dispose();
  rstd.dispose();
  return y;
}

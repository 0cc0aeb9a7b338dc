import type { Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { sizeOf } from '../layout.js';
import { defineOp, type Operand, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { affine } from './affine.js';
import { cast } from './cast.js';
import { expectShape, floatOf, once, widen, wideType } from './fused.js';
import { layerNormBackward } from './layerNormBackward.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { rsqrt } from './rsqrt.js';
import { formatSpec, need } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';

export interface LayerNormAttrs {
  /** Added to the variance. */
  readonly eps: number;
}

export interface LayerNormOptions {
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
}

/** y like x, and mean and 1 / standard deviation of each row. */
export function normSpecs(name: string, inputs: readonly SpecOrNull[]): Spec[] {
  const x = need(name, inputs, 0);
  if (x.shape.length === 0) throw new OpError(name, `expected x [..., D], got ${formatSpec(x)}`);
  const width = [x.shape[x.shape.length - 1]];
  for (const s of inputs.slice(1)) expectShape(name, 'a weight or bias', s, width);
  const row = { shape: x.shape.slice(0, -1), dtype: wideType(x.dtype) };
  return [{ shape: x.shape, dtype: floatOf(name, inputs) }, row, row];
}

const op = defineOp<LayerNormAttrs>({
  name: 'layerNorm',
  infer: (inputs) => normSpecs('layerNorm', inputs),
  decompose(inputs, { eps }) {
    const [x, weight, bias] = inputs.map(widen) as [Tensor, Operand, Operand];
    const axis = x.rank - 1;
    const scale = 1 / x.shape[axis];
    const mean = affine(sum(x, axis, true), scale, 0);
    const centred = sub(x, mean);
    // Two passes: the mean of squares minus the squared mean cancels.
    const rstd = rsqrt(affine(sum(mul(centred, centred), axis, true), scale, eps));
    const normal = mul(centred, rstd);
    const scaled = weight ? mul(normal, weight) : normal;
    const y = cast(bias ? add(scaled, bias) : scaled, floatOf('layerNorm', inputs));
    return [y, ...[mean, rstd].map((t) => cast(reshape(t, x.shape.slice(0, -1)), wideType(x.dtype)))];
  },
  vjp: {
    auxiliary: 1,
    saves: ([x, weight], [, mean, rstd]) => [x, mean, rstd, weight],
    back([g], [x, mean, rstd, weight]) {
      const results = once(() => layerNormBackward(g as Tensor, x as Tensor, mean as Tensor, rstd as Tensor, weight));
      return [0, 1, 2].map((i) => () => results()[i]);
    },
  },
  cost: ([x]) => 8 * sizeOf(x?.shape ?? [0]),
  samples: () => [
    { inputs: [{ shape: [2, 3, 13] }, { shape: [13] }, { shape: [13] }], attrs: { eps: 1e-5 } },
    { inputs: [{ shape: [4, 8] }, null, null], attrs: { eps: 1e-5 } },
    { inputs: [{ shape: [4, 8] }, { shape: [8] }, null], attrs: { eps: 1e-5 } },
  ],
});

/** layerNorm with its by-products: mean and 1 / standard deviation of each row. */
export function normalized(x: Tensor, weight: Operand, bias: Operand, eps: number): Tensor[] {
  return call(op, [x, weight, bias], { eps });
}

/**
 * (x - mean) / sqrt(variance + eps) * weight + bias over the last axis of x [..., D], with the population variance
 * (Ba et al. 2016); weight and bias [D] or null.
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  { eps = 1e-5 }: LayerNormOptions = {},
): Tensor {
  const [y, mean, rstd] = normalized(x, weight, bias, eps);
  mean.dispose();
  rstd.dispose();
  return y;
}

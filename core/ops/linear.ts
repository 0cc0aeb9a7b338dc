import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { sizeOf } from '../layout.js';
import { isGradEnabled } from '../modes.js';
import { defineOp, type Operand } from '../op.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { cast } from './cast.js';
import { expectShape, floatOf, leading, once, rows, transposed, widen } from './fused.js';
import { gelu, geluSlope } from './gelu.js';
import { linearBackwardWeights } from './linearBackwardWeights.js';
import { matmul } from './matmul.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { formatSpec, need } from './rules.js';
import { sum } from './sum.js';

export type Activation = 'none' | 'gelu';

export interface LinearAttrs {
  readonly activation: Activation;
  /** With gelu: whether its slope is a second output, for backward. */
  readonly keep: boolean;
}

export interface LinearOptions {
  readonly activation?: Activation;
  /** [..., N], added to the result. */
  readonly residual?: Tensor | null;
}

const op = defineOp<LinearAttrs>({
  name: 'linear',
  infer(inputs, { activation, keep }) {
    const x = need('linear', inputs, 0);
    const w = need('linear', inputs, 1);
    if (x.shape.length === 0 || w.shape.length !== 2 || x.shape[x.shape.length - 1] !== w.shape[1]) {
      throw new OpError('linear', `expected x [..., K] and weight [N, K], got ${formatSpec(x)} and ${formatSpec(w)}`);
    }
    const shape = [...x.shape.slice(0, -1), w.shape[0]];
    expectShape('linear', 'a bias', inputs[2], [w.shape[0]]);
    expectShape('linear', 'a residual', inputs[3], shape);
    const y = { shape, dtype: floatOf('linear', inputs) };
    return keep && activation === 'gelu' ? [y, y] : [y];
  },
  decompose(inputs, { activation, keep }) {
    const dtype = floatOf('linear', inputs);
    const [x, w, bias, residual] = inputs.map(widen) as [Tensor, Tensor, Operand, Operand];
    const product = reshape(matmul(rows(x), transposed(w)), [...x.shape.slice(0, -1), w.shape[0]]);
    const z = bias ? add(product, bias) : product;
    const active = activation === 'gelu' ? gelu(z) : z;
    const y = cast(residual ? add(active, residual) : active, dtype);
    return keep && activation === 'gelu' ? [y, cast(geluSlope(z), dtype)] : [y];
  },
  vjp: {
    auxiliary: 1,
    saves: ([x, w], [, slope]) => [w?.requiresGrad ? x : null, x?.requiresGrad ? w : null, slope ?? null],
    back([g], [x, w, slope], _, [xs, , bias]) {
      const dy = g as Tensor;
      const dz = once(() => (slope ? mul(dy, slope) : dy));
      const weights = once(() => linearBackwardWeights(dz(), x as Tensor, bias !== null));
      return [
        () => reshape(matmul(rows(dz()), w as Tensor), xs?.shape ?? []),
        () => weights()[0],
        // Without a gradient of the weight there is no x to share a kernel with.
        () => (x ? weights()[1] : sum(dz(), leading(dy.rank - 1))),
        () => dy,
      ];
    },
  },
  cost: ([x, w]) => 2 * sizeOf(x?.shape ?? [0]) * (w?.shape[0] ?? 0),
  samples: () => [
    { inputs: [{ shape: [5, 7] }, { shape: [3, 7] }, null, null], attrs: { activation: 'none', keep: false } },
    {
      inputs: [{ shape: [2, 5, 12] }, { shape: [9, 12] }, { shape: [9] }, { shape: [2, 5, 9] }],
      attrs: { activation: 'gelu', keep: true },
    },
    { inputs: [{ shape: [4] }, { shape: [6, 4] }, { shape: [6] }, null], attrs: { activation: 'gelu', keep: true } },
  ],
});

/** Whether backward will ask for the slope of the activation. */
export function keepsSlope(activation: Activation, operands: readonly Operand[]): boolean {
  return activation === 'gelu' && isGradEnabled() && operands.some((t) => t?.requiresGrad);
}

/**
 * act(x W^T + b) + residual: x [..., K], weight [N, K], bias [N] or null, result [..., N]. One kernel where the backend
 * has it. `gelu` is the exact one, x Phi(x).
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  { activation = 'none', residual = null }: LinearOptions = {},
): Tensor {
  const attrs = { activation, keep: keepsSlope(activation, [x, weight, bias]) };
  const [y, z] = call(op, [x, weight, bias, residual], attrs);
  z?.dispose();
  return y;
}

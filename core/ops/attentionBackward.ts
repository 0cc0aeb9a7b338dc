import type { Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp, type Operand } from '../op.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { affine } from './affine.js';
import { cast } from './cast.js';
import { contiguous } from './contiguous.js';
import { div } from './div.js';
import { type DropoutState, dropoutFactors } from './dropout.js';
import { equal } from './equal.js';
import { exp } from './exp.js';
import { expectShape, floatOf, NO_SECOND, widen, wideType } from './fused.js';
import { maskedFill } from './maskedFill.js';
import { matmul } from './matmul.js';
import { mul } from './mul.js';
import { permute } from './permute.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';

const NAME = 'attentionBackward';

export interface AttentionAttrs extends DropoutState {
  /** On the products of queries and keys. */
  readonly scale: number;
  /** Probability with which an attention weight is dropped. */
  readonly dropout: number;
}

interface AttentionBackwardAttrs extends AttentionAttrs {
  readonly biasGrad: boolean;
}

/** [B, L, H, d] as [B, H, L, d], and back. */
export const swapHeads = (x: Tensor): Tensor => permute(x, [0, 2, 1, 3]);

/** scale q k^T + bias, -inf at padding: [B, H, Lq, Lk] of heads-first q and k. */
export function scores(q: Tensor, k: Tensor, keyPadding: Operand, bias: Operand, scale: number): Tensor {
  const products = affine(matmul(q, permute(k, [0, 1, 3, 2])), scale, 0);
  const biased = bias ? add(products, bias) : products;
  if (!keyPadding) return biased;
  const [B, Lk] = keyPadding.shape;
  return maskedFill(biased, reshape(keyPadding, [B, 1, 1, Lk]), Number.NEGATIVE_INFINITY);
}

/** [B, H, Lq, Lk] of q [B, Lq, H, d] and k [B, Lk, H, d]. */
export const scoreShape = (q: Spec, k: Spec): number[] => [q.shape[0], q.shape[2], q.shape[1], k.shape[1]];

const op = defineOp<AttentionBackwardAttrs>({
  name: NAME,
  infer(inputs, { biasGrad }) {
    const [dy, q, k, v, o, lse] = [0, 1, 2, 3, 4, 5].map((i) => need(NAME, inputs, i));
    const shape = scoreShape(q, k);
    for (const s of [dy, o]) expectShape(NAME, 'outputs', s, q.shape);
    expectShape(NAME, 'a log-sum-exp', lse, shape.slice(0, 3));
    const dtype = floatOf(NAME, [dy, q, k, v]);
    const results = [q, k, v].map((s) => ({ shape: s.shape, dtype }));
    return biasGrad ? [...results, { shape, dtype: wideType(dtype) }] : results;
  },
  decompose(inputs, attrs) {
    const [dy, q, k, v] = inputs.slice(0, 4).map((t) => swapHeads(widen(t as Tensor)));
    const [lse, keyPadding, bias] = inputs.slice(5).map(widen) as [Tensor, Operand, Operand];
    const { scale, dropout, biasGrad } = attrs;
    const s = scores(q, k, keyPadding, bias, scale);
    const p = exp(sub(s, reshape(lse, [...lse.shape, 1])));
    const factors = dropout > 0 ? dropoutFactors(s, dropout, attrs) : null;
    const dropped = (t: Tensor) => (factors ? mul(t, factors) : t);
    const flipped = (t: Tensor) => permute(t, [0, 1, 3, 2]);
    const dv = matmul(flipped(dropped(p)), dy);
    const dp = dropped(matmul(dy, flipped(v)));
    // A query's score gradients sum to 0: dp less its mean under p. What rounding leaves of that sum is taken out once
    // more, because some gradients (of the keys' bias) are nothing but this sum.
    const all = sum(p, 3, true);
    const total = maskedFill(all, equal(all, 0), 1);
    const mean = (t: Tensor) => div(sum(t, 3, true), total);
    const raw = mul(p, sub(dp, mean(mul(p, dp))));
    const ds = sub(raw, mul(p, mean(raw)));
    const dq = affine(matmul(ds, k), scale, 0);
    const dk = affine(matmul(flipped(ds), q), scale, 0);
    const dtype = floatOf(NAME, inputs.slice(0, 4));
    const results = [dq, dk, dv].map((t) => cast(contiguous(swapHeads(t)), dtype));
    return biasGrad ? [...results, cast(ds, wideType(dtype))] : results;
  },
  nonDifferentiable: NO_SECOND,
  cost: ([, q, k]) => 10 * sizeOf(q?.shape ?? [0]) * (k?.shape[1] ?? 0),
  samples: () => {
    const q = { shape: [2, 5, 3, 8] };
    const k = { shape: [2, 7, 3, 8] };
    const attrs = { scale: 0.35, dropout: 0, seed: [0, 0], counter: [0, 0] } as const;
    const lse = { shape: [2, 3, 5], low: 2, high: 4 };
    return [
      { inputs: [q, q, k, k, q, lse, null, null], attrs: { ...attrs, biasGrad: false } },
      {
        inputs: [q, q, k, k, q, lse, { shape: [2, 7], dtype: 'bool' }, { shape: [5, 7] }],
        attrs: { ...attrs, biasGrad: true },
      },
    ];
  },
});

/**
 * Gradients of attention: dq, dk, dv like q, k, v, and with `biasGrad` that of the bias, [B, H, Lq, Lk].
 * `saved` are q, k, v, the output, its log-sum-exp, the padding and the bias.
 */
export function attentionBackward(
  dy: Tensor,
  saved: readonly Operand[],
  attrs: AttentionAttrs,
  biasGrad: boolean,
): Tensor[] {
  return call(op, [dy, ...saved], { ...attrs, biasGrad });
}

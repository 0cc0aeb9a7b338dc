import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { broadcastShapes, formatShape, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Generator } from '../random.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { type AttentionAttrs, attentionBackward, scoreShape, scores, swapHeads } from './attentionBackward.js';
import { cast } from './cast.js';
import { contiguous } from './contiguous.js';
import { div } from './div.js';
import { dropoutFactors, dropoutState } from './dropout.js';
import { equal } from './equal.js';
import { exp } from './exp.js';
import { ones, zeros } from './fill.js';
import { expectShape, floatOf, once, widen, wideType } from './fused.js';
import { log } from './log.js';
import { maskedFill } from './maskedFill.js';
import { matmul } from './matmul.js';
import { max } from './max.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { formatSpec, need } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';
import { tril } from './tril.js';

const NAME = 'attention';

const op = defineOp<AttentionAttrs>({
  name: NAME,
  infer(inputs) {
    const [q, k, v] = [0, 1, 2].map((i) => need(NAME, inputs, i));
    const fits = q.shape.length === 4 && k.shape.length === 4 && [0, 2, 3].every((a) => k.shape[a] === q.shape[a]);
    if (!fits || k.shape[1] === 0) {
      const given = [q, k].map(formatSpec).join(' and ');
      throw new OpError(NAME, `expected queries [B, Lq, H, d] and keys [B, Lk, H, d] with Lk > 0, got ${given}`);
    }
    expectShape(NAME, 'values', v, k.shape);
    expectShape(NAME, 'key padding', inputs[3], [q.shape[0], k.shape[1]]);
    const shape = scoreShape(q, k);
    const bias = inputs[4];
    if (bias && String(broadcastShapes(NAME, bias.shape, shape)) !== String(shape)) {
      throw new OpError(NAME, `expected a bias that broadcasts to ${formatShape(shape)}, got ${formatSpec(bias)}`);
    }
    const dtype = floatOf(NAME, [q, k, v]);
    return [
      { shape: q.shape, dtype },
      { shape: shape.slice(0, 3), dtype: wideType(dtype) },
    ];
  },
  decompose(inputs, attrs) {
    const [q, k, v] = inputs.slice(0, 3).map((t) => swapHeads(widen(t as Tensor)));
    const [keyPadding, bias] = inputs.slice(3).map(widen);
    const s = scores(q, k, keyPadding, bias, attrs.scale);
    const top = max(s, 3, true).values;
    // Where every key is masked, the result is 0 and so is the log-sum-exp.
    const shift = maskedFill(top, equal(top, Number.NEGATIVE_INFINITY), 0);
    const e = exp(sub(s, shift));
    const all = sum(e, 3, true);
    const total = maskedFill(all, equal(all, 0), 1);
    const p = div(e, total);
    const kept = attrs.dropout > 0 ? mul(p, dropoutFactors(s, attrs.dropout, attrs)) : p;
    const dtype = floatOf(NAME, inputs.slice(0, 3));
    const lse = reshape(add(shift, log(total)), s.shape.slice(0, 3));
    return [cast(contiguous(swapHeads(matmul(kept, v))), dtype), cast(lse, wideType(dtype))];
  },
  vjp: {
    auxiliary: 1,
    // The bias a second time says that its gradient is wanted.
    saves: ([q, k, v, padding, bias], [o, lse]) => [q, k, v, o, lse, padding, bias, bias?.requiresGrad ? bias : null],
    back([g], saved, attrs) {
      const results = once(() => attentionBackward(g as Tensor, saved.slice(0, 7), attrs, saved[7] !== null));
      return [() => results()[0], () => results()[1], () => results()[2], null, () => results()[3]];
    },
  },
  cost: ([q, k]) => 4 * sizeOf(q?.shape ?? [0]) * (k?.shape[1] ?? 0),
  samples: () => {
    const q = { shape: [2, 5, 3, 8] };
    const k = { shape: [2, 7, 3, 8] };
    const attrs = { scale: 0.35, dropout: 0, seed: [0, 0], counter: [0, 0] } as const;
    return [
      { inputs: [q, k, k, null, null], attrs },
      { inputs: [q, k, k, { shape: [2, 7], dtype: 'bool' }, { shape: [2, 1, 5, 7] }], attrs },
      { inputs: [q, k, k, null, { shape: [5, 7] }], attrs },
    ];
  },
});

export interface AttentionOptions {
  /** [B, Lk], not 0 = not attended to. A query with nothing to attend to gives zeros. */
  readonly keyPadding?: Tensor | null;
  /** Added to the scaled scores; broadcasts to [B, H, Lq, Lk]. */
  readonly bias?: Tensor | null;
  /** On the products of queries and keys; default 1 / sqrt(d). */
  readonly scale?: number;
  /** Probability with which an attention weight is dropped (the others grow by 1 / (1 - p)); default 0. */
  readonly dropout?: number;
  /** Where the random numbers of dropout come from. */
  readonly generator?: Generator;
}

/**
 * softmax(scale q k^T + bias) v for each head (Vaswani et al. 2017): q [B, Lq, H, d], k and v [B, Lk, H, d], result
 * [B, Lq, H, d]. Backward keeps no [Lq, Lk] matrix.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { keyPadding = null, bias = null, scale = 1 / Math.sqrt(q.shape[3]), dropout = 0, generator } = options;
  if (!(dropout >= 0 && dropout < 1)) throw new OpError(NAME, `expected a dropout from 0 to below 1, got ${dropout}`);
  const words = dropout > 0 ? sizeOf(scoreShape(q, k)) : 0;
  return scope(() => {
    const padding = keyPadding && cast(keyPadding, 'bool');
    const [o] = call(op, [q, k, v, padding, bias], { scale, dropout, ...dropoutState(words, generator) });
    return o;
  });
}

export interface ScaledDotProductOptions extends Pick<AttentionOptions, 'scale' | 'dropout' | 'generator'> {
  /** Broadcasts to [B, H, Lq, Lk]: truth values (not 0 = attend), or floats that are added to the scaled scores. */
  readonly mask?: Tensor | null;
  /** Query i attends to keys 0 to i only. */
  readonly causal?: boolean;
}

/** attention with PyTorch's layout and masks: q [B, H, Lq, d], k and v [B, H, Lk, d], result [B, H, Lq, d]. */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { mask = null, causal = false, ...options }: ScaledDotProductOptions = {},
): Tensor {
  if (q.rank !== 4 || k.rank !== 4 || v.rank !== 4) {
    throw new OpError(
      'scaledDotProductAttention',
      `expected q, k and v of shape [B, H, L, d], got ${q}, ${k} and ${v}`,
    );
  }
  return scope(() => {
    const barred = (allowed: Tensor) => {
      const open = zeros(allowed.shape, { backend: q.backend });
      return maskedFill(open, equal(allowed, 0), Number.NEGATIVE_INFINITY);
    };
    let bias =
      mask && (mask.dtype === 'bool' || mask.dtype === 'uint8' || mask.dtype === 'int32' ? barred(mask) : mask);
    if (causal) {
      const past = barred(tril(ones([q.shape[2], k.shape[2]], { backend: q.backend })));
      bias = bias ? add(bias, past) : past;
    }
    return swapHeads(attention(swapHeads(q), swapHeads(k), swapHeads(v), { ...options, bias }));
  });
}

import { call1 } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { oneHot } from './arange.js';
import { cast } from './cast.js';
import { equal } from './equal.js';
import { exp } from './exp.js';
import { expectShape, floatOf, NO_SECOND, widen } from './fused.js';
import { maskedFill } from './maskedFill.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { sub } from './sub.js';

const NAME = 'crossEntropyBackward';

export interface CrossEntropyAttrs {
  /** The part of the target that is spread over all classes. */
  readonly smoothing: number;
  /** The target of rows that do not count. */
  readonly ignoreIndex: number;
}

const op = defineOp<CrossEntropyAttrs>({
  name: NAME,
  infer(inputs) {
    const logits = need(NAME, inputs, 1);
    for (const i of [0, 2, 3]) expectShape(NAME, 'one value a row', need(NAME, inputs, i), logits.shape.slice(0, 1));
    return [{ shape: logits.shape, dtype: floatOf(NAME, [logits]) }];
  },
  decompose(inputs, { smoothing, ignoreIndex }) {
    const [dloss, logits, lse, target] = inputs.map((t) => widen(t as Tensor));
    const [count, classes] = logits.shape;
    const column = (t: Tensor) => reshape(t, [count, 1]);
    const probability = exp(sub(logits, column(lse)));
    const wanted = affine(oneHot(target, classes, { dtype: logits.dtype }), 1 - smoothing, smoothing / classes);
    const gradient = mul(sub(probability, wanted), column(dloss));
    return [cast(maskedFill(gradient, equal(column(target), ignoreIndex), 0), (inputs[1] as Tensor).dtype)];
  },
  nonDifferentiable: NO_SECOND,
  cost: ([, logits]) => 3 * sizeOf(logits?.shape ?? [0]),
  samples: () => [
    {
      inputs: [{ shape: [7] }, { shape: [7, 5] }, { shape: [7], low: 1 }, { shape: [7], dtype: 'int32', high: 5 }],
      attrs: { smoothing: 0.1, ignoreIndex: 2 },
    },
  ],
});

/** Gradient of the logits [N, C] of crossEntropy from dloss [N], the log-sum-exp [N] and the targets [N]. */
export function crossEntropyBackward(
  dloss: Tensor,
  logits: Tensor,
  lse: Tensor,
  target: Tensor,
  attrs: CrossEntropyAttrs,
): Tensor {
  return call1(op, [dloss, logits, lse, target], attrs);
}

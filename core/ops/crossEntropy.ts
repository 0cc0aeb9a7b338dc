import { call } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { OpError } from '../errors.js';
import { formatShape, sameShape, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { affine } from './affine.js';
import { oneHot } from './arange.js';
import { type CrossEntropyAttrs, crossEntropyBackward } from './crossEntropyBackward.js';
import { div } from './div.js';
import { equal } from './equal.js';
import { exp } from './exp.js';
import { expectShape, widen, wideType } from './fused.js';
import { log } from './log.js';
import { logSoftmax } from './logSoftmax.js';
import { maskedFill } from './maskedFill.js';
import { max } from './max.js';
import { mul } from './mul.js';
import { neg } from './neg.js';
import { notEqual } from './notEqual.js';
import { reshape } from './reshape.js';
import { formatSpec, need } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';
import { where } from './where.js';

const op = defineOp<CrossEntropyAttrs>({
  name: 'crossEntropy',
  infer(inputs) {
    const logits = need('crossEntropy', inputs, 0);
    const target = need('crossEntropy', inputs, 1);
    if (logits.shape.length !== 2 || logits.shape[1] === 0 || !isFloat(logits.dtype) || isFloat(target.dtype)) {
      throw new OpError(
        'crossEntropy',
        `expected float logits [N, C] and integer targets [N], got ${formatSpec(logits)} and ${formatSpec(target)}`,
      );
    }
    expectShape('crossEntropy', 'targets', target, [logits.shape[0]]);
    const row = { shape: [logits.shape[0]], dtype: wideType(logits.dtype) };
    return [row, row];
  },
  decompose(inputs, { smoothing, ignoreIndex }) {
    const logits = widen(inputs[0] as Tensor);
    const target = inputs[1] as Tensor;
    const top = max(logits, 1, true).values;
    const lse = reshape(add(top, log(sum(exp(sub(logits, top)), 1, true))), target.shape);
    const hit = oneHot(target, logits.shape[1], { dtype: 'bool' });
    // The division makes the loss of a target outside the classes NaN.
    const picked = div(sum(where(hit, logits, 0), 1), sum(hit, 1));
    const nll = sub(lse, picked);
    const spread = () => sub(lse, affine(sum(logits, 1), 1 / logits.shape[1], 0));
    const loss = smoothing === 0 ? nll : add(affine(nll, 1 - smoothing, 0), affine(spread(), smoothing, 0));
    return [maskedFill(loss, equal(target, ignoreIndex), 0), lse];
  },
  vjp: {
    auxiliary: 1,
    saves: ([logits, target], [, lse]) => [logits, lse, target],
    back: ([g], saved, attrs) => {
      const [logits, lse, target] = saved as Tensor[];
      return [() => crossEntropyBackward(g as Tensor, logits, lse, target, attrs), null];
    },
  },
  cost: ([logits]) => 4 * sizeOf(logits?.shape ?? [0]),
  samples: () => [
    {
      inputs: [{ shape: [6, 9] }, { shape: [6], dtype: 'int32', high: 9 }],
      attrs: { smoothing: 0, ignoreIndex: -100 },
    },
    { inputs: [{ shape: [7, 5] }, { shape: [7], dtype: 'int32', high: 5 }], attrs: { smoothing: 0.1, ignoreIndex: 2 } },
  ],
});

export type Reduction = 'mean' | 'sum' | 'none';

export interface CrossEntropyOptions {
  /** The part of the target that is spread over all classes, as PyTorch does; default 0. */
  readonly labelSmoothing?: number;
  /** Rows with this class as target do not count; default -100. */
  readonly ignoreIndex?: number;
  /** 'mean' (default) divides by the number of rows that count. */
  readonly reduction?: Reduction;
}

/**
 * -log softmax(logits)[target]: logits [..., C]; target of integers [...], or of probabilities [..., C].
 * The result is a scalar, or [...] without reduction; of 16-bit logits it is float32. A class outside 0 to C - 1 that
 * is not `ignoreIndex` gives NaN.
 */
export function crossEntropy(
  logits: Tensor,
  target: Tensor,
  { labelSmoothing = 0, ignoreIndex = -100, reduction = 'mean' }: CrossEntropyOptions = {},
): Tensor {
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new OpError('crossEntropy', `expected a label smoothing from 0 to 1, got ${labelSmoothing}`);
  }
  checkTarget(logits, target);
  const lead = logits.shape.slice(0, -1);
  return scope(() => {
    if (isFloat(target.dtype)) {
      const loss = softCrossEntropy(logits, target, labelSmoothing);
      if (reduction === 'none') return loss;
      return reduction === 'sum' ? sum(loss) : affine(sum(loss), 1 / sizeOf(lead), 0);
    }
    const flat = reshape(target, [target.size]);
    const loss = crossEntropyRows(reshape(logits, [target.size, logits.shape[lead.length]]), flat, {
      smoothing: labelSmoothing,
      ignoreIndex,
    });
    if (reduction === 'none') return reshape(loss, lead);
    return reduction === 'sum' ? sum(loss) : div(sum(loss), sum(notEqual(flat, ignoreIndex)));
  });
}

function checkTarget(logits: SpecOrNull & object, target: SpecOrNull & object): void {
  const wanted = isFloat(target.dtype) ? logits.shape : logits.shape.slice(0, -1);
  if (logits.shape.length === 0 || !sameShape(target.shape, wanted)) {
    throw new OpError(
      'crossEntropy',
      `expected logits [..., C] with classes of shape ${formatShape(logits.shape.slice(0, -1))} or probabilities of ` +
        `shape ${formatShape(logits.shape)}, got ${formatSpec(logits)} and ${formatSpec(target)}`,
    );
  }
}

/** The loss of each row of logits [N, C] for integer targets [N]. */
export function crossEntropyRows(logits: Tensor, target: Tensor, attrs: CrossEntropyAttrs): Tensor {
  const [loss, lse] = call(op, [logits, target], attrs);
  lse.dispose();
  return loss;
}

function softCrossEntropy(logits: Tensor, target: Tensor, smoothing: number): Tensor {
  const classes = logits.shape[logits.rank - 1];
  const q = smoothing === 0 ? target : affine(target, 1 - smoothing, smoothing / classes);
  return neg(sum(mul(q, logSoftmax(widen(logits))), logits.rank - 1));
}

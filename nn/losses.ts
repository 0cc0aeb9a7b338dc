/** Losses: scalars (or one value a row) that are differentiated. */
import { isFloat, promote } from '../core/dtype.js';
import { OpError } from '../core/errors.js';
import { sameShape } from '../core/layout.js';
import { scope } from '../core/memory.js';
import { widen } from '../core/ops/fused.js';
import {
  add,
  affine,
  arange,
  cast,
  crossEntropy,
  div,
  greater,
  log,
  matmul,
  maximum,
  mean,
  mul,
  type Reduction,
  softplus,
  sqrt,
  square,
  sub,
  sum,
  topk,
  transpose,
  where,
} from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';

export { type CrossEntropyOptions, crossEntropy, type Reduction } from '../core/ops/index.js';

export interface LossOptions {
  /** 'mean' (default) over all elements, 'sum', or 'none'. */
  readonly reduction?: Reduction;
}

function reduced(loss: Tensor, reduction: Reduction = 'mean'): Tensor {
  if (reduction === 'none') return loss;
  return reduction === 'sum' ? sum(loss) : mean(loss);
}

function expectEqualShapes(name: string, a: Tensor, b: Tensor): void {
  if (!sameShape(a.shape, b.shape)) {
    throw new OpError(name, `expected operands of one shape, got ${a} and ${b}`);
  }
}

/**
 * Binary cross entropy of logits x against probabilities y of the same shape:
 * log(1 + e^x) - x y, which is -y log sigmoid(x) - (1 - y) log(1 - sigmoid(x)) without overflow.
 */
export function bceWithLogits(x: Tensor, y: Tensor, { reduction }: LossOptions = {}): Tensor {
  expectEqualShapes('bceWithLogits', x, y);
  return scope(() => reduced(sub(softplus(x), mul(x, y)), reduction));
}

/**
 * Kullback-Leibler divergence of log-probabilities from target probabilities, elementwise: y (log y - x), 0 where y is 0.
 * As in PyTorch, 'mean' divides by the number of elements, not of distributions.
 */
export function klDiv(logProbabilities: Tensor, target: Tensor, { reduction }: LossOptions = {}): Tensor {
  expectEqualShapes('klDiv', logProbabilities, target);
  return scope(() => {
    // The log of 1 where y is 0: 0 log 0 is 0, and so is its gradient.
    const entropy = mul(target, log(where(greater(target, 0), target, 1)));
    return reduced(sub(entropy, mul(target, logProbabilities)), reduction);
  });
}

/** (x - y)^2. */
export function mseLoss(x: Tensor, y: Tensor, { reduction }: LossOptions = {}): Tensor {
  expectEqualShapes('mseLoss', x, y);
  return scope(() => reduced(square(sub(x, y)), reduction));
}

export interface CosineOptions {
  /** Along which vectors lie; default the last. */
  readonly axis?: number;
  /** Smallest length that is divided by; default 1e-8. */
  readonly eps?: number;
}

/** x . y / (|x| |y|) along an axis, which goes; operands broadcast. */
export function cosineSimilarity(x: Tensor, y: Tensor, { axis = -1, eps = 1e-8 }: CosineOptions = {}): Tensor {
  return scope(() => {
    // Squares of 16-bit floats, and the square of eps, may be none themselves.
    const [a, b] = [widen(x), widen(y)];
    // The bound is on the squares: the root has no gradient at 0.
    const length = (t: Tensor) => sqrt(maximum(sum(square(t), axis), eps * eps));
    const cosine = div(sum(mul(a, b), axis), mul(length(a), length(b)));
    return isFloat(x.dtype) && isFloat(y.dtype) ? cast(cosine, promote(x.dtype, y.dtype)) : cosine;
  });
}

export interface CaptioningLossOptions {
  /** The part of each target that goes to the C - 1 other classes; default 0.1. */
  readonly labelSmoothing?: number;
  /** The part of the tokens, those of the highest loss, that does not count; default 0.2. */
  readonly dropWorstRatio?: number;
  /** Until this step, it included, all tokens count; default 12000. */
  readonly dropWorstAfter?: number;
  /** The training step; default 0. */
  readonly step?: number;
}

/**
 * The captioning loss of BEiT-3: mean Kullback-Leibler divergence of logits [N, C] from smoothed targets (int32 [N]),
 * over the easier tokens only once training is past `dropWorstAfter` steps. It counts one token at least.
 */
export function captioningLoss(
  logits: Tensor,
  target: Tensor,
  { labelSmoothing = 0.1, dropWorstRatio = 0.2, dropWorstAfter = 12000, step = 0 }: CaptioningLossOptions = {},
): Tensor {
  const [count, classes] = logits.shape;
  if (!(labelSmoothing >= 0 && labelSmoothing < 1) || !(dropWorstRatio >= 0 && dropWorstRatio < 1)) {
    throw new OpError(
      'captioningLoss',
      `expected ratios from 0 to below 1, got ${labelSmoothing} and ${dropWorstRatio}`,
    );
  }
  return scope(() => {
    // Smoothing over the other classes is smoothing over all classes by a little more, and the divergence is the cross
    // entropy less the entropy of the target, a constant.
    const spread = Math.min(1, (labelSmoothing * classes) / (classes - 1));
    const xlogx = (p: number) => (p > 0 ? p * Math.log(p) : 0);
    const negentropy = xlogx(1 - labelSmoothing) + (classes - 1) * xlogx(labelSmoothing / (classes - 1));
    const loss = affine(crossEntropy(logits, target, { labelSmoothing: spread, reduction: 'none' }), 1, negentropy);
    if (dropWorstRatio === 0 || step <= dropWorstAfter) return mean(loss);
    const kept = Math.max(1, Math.trunc(count * (1 - dropWorstRatio)));
    return mean(topk(loss, kept, { largest: false }).values);
  });
}

/**
 * The symmetric contrastive loss of CLIP (Radford et al. 2021) for N pairs of unit vectors [N, D]: the mean of the cross
 * entropies of image to text and of text to image, with similarities times `scale` (a scalar tensor or a number).
 */
export function contrastiveLoss(imageFeatures: Tensor, textFeatures: Tensor, scale: Tensor | number): Tensor {
  if (imageFeatures.rank !== 2 || !sameShape(imageFeatures.shape, textFeatures.shape)) {
    throw new OpError(
      'contrastiveLoss',
      `expected two times features [N, D], got ${imageFeatures} and ${textFeatures}`,
    );
  }
  return scope(() => {
    const logits = mul(matmul(imageFeatures, transpose(textFeatures, 0, 1)), scale);
    const own = arange(0, logits.shape[0], 1, { backend: logits.backend });
    const both = add(crossEntropy(logits, own), crossEntropy(transpose(logits, 0, 1), own));
    return affine(both, 0.5, 0);
  });
}

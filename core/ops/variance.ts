import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { normalizeAxes, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { cast } from './cast.js';
import { div } from './div.js';
import { equal } from './equal.js';
import { widen } from './fused.js';
import { maskedFill } from './maskedFill.js';
import { mean } from './mean.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { floatType } from './rules.js';
import { sqrt } from './sqrt.js';
import { square } from './square.js';
import { sub } from './sub.js';
import { type ReduceAttrs, reducedShape, sum } from './sum.js';

export interface VarianceOptions {
  /** What is taken off the number of elements in the divisor; 1 gives the unbiased estimate. */
  readonly correction?: number;
  readonly keepDims?: boolean;
}

/** Variance over `axes` (default: all). */
export function variance(
  x: Tensor,
  axes?: number | readonly number[],
  { correction = 1, keepDims = false }: VarianceOptions = {},
): Tensor {
  const list = normalizeAxes('variance', axes, x.rank);
  const divisor = Math.max(0, sizeOf(list.map((a) => x.shape[a])) - correction);
  return scope(() => {
    const wide = widen(x);
    const result = div(sum(square(sub(wide, mean(wide, list, true))), list, keepDims), divisor);
    return isFloat(x.dtype) ? cast(result, x.dtype) : result;
  });
}

interface DeviationAttrs extends ReduceAttrs {
  readonly correction: number;
}

const op = defineOp<DeviationAttrs>({
  name: 'std',
  infer: (inputs, attrs) => {
    const [{ shape, dtype }] = floatType('std')(inputs);
    return [{ shape: reducedShape(shape, attrs), dtype }];
  },
  decompose: ([x], { axes, ...options }) => [sqrt(variance(x as Tensor, axes, options))],
  vjp: {
    saves: ([x], [y]) => [x, y],
    back: ([g], [x, y], { axes, correction }, [spec]) => [
      () => {
        const { shape } = spec as Spec;
        const line = reducedShape(shape, { axes, keepDims: true });
        const slope = maskedFill(div(g as Tensor, y as Tensor), equal(y as Tensor, 0), 0);
        const scale = 1 / Math.max(0, sizeOf(axes.map((a) => shape[a])) - correction);
        return mul(sub(x as Tensor, mean(x as Tensor, axes, true)), reshape(affine(slope, scale, 0), line));
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [4, 5] }], attrs: { axes: [0, 1], keepDims: false, correction: 1 } },
    { inputs: [{ shape: [4, 5] }], attrs: { axes: [1], keepDims: true, correction: 0 } },
  ],
});

/** Standard deviation over `axes` (default: all); its gradient where it is 0 is 0. */
export function std(
  x: Tensor,
  axes?: number | readonly number[],
  { correction = 1, keepDims = false }: VarianceOptions = {},
): Tensor {
  return call1(op, [x], { axes: normalizeAxes('std', axes, x.rank), keepDims, correction });
}

import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { normalizeAxes } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { clamp } from './clamp.js';
import { div } from './div.js';
import { equal } from './equal.js';
import { maskedFill } from './maskedFill.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { floatType } from './rules.js';
import { sqrt } from './sqrt.js';
import { square } from './square.js';
import { type ReduceAttrs, reducedShape, sum } from './sum.js';

const op = defineOp<ReduceAttrs>({
  name: 'norm',
  infer(inputs, attrs) {
    const [{ shape, dtype }] = floatType('norm')(inputs);
    return [{ shape: reducedShape(shape, attrs), dtype }];
  },
  decompose: ([x], { axes, keepDims }) => [sqrt(sum(square(x as Tensor), axes, keepDims))],
  vjp: {
    saves: ([x], [y]) => [x, y],
    back: ([g], [x, y], { axes }, [spec]) => [
      () => {
        const slope = maskedFill(div(g as Tensor, y as Tensor), equal(y as Tensor, 0), 0);
        return mul(x as Tensor, reshape(slope, reducedShape((spec as Spec).shape, { axes, keepDims: true })));
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [4, 5] }], attrs: { axes: [0, 1], keepDims: false } },
    { inputs: [{ shape: [4, 5] }], attrs: { axes: [1], keepDims: true } },
  ],
});

/** Euclidean norm over `axes` (default: all); its gradient where it is 0 is 0. */
export const norm = (x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor =>
  call1(op, [x], { axes: normalizeAxes('norm', axes, x.rank), keepDims });

export interface NormalizeOptions {
  readonly axis?: number;
  /** Smallest divisor. */
  readonly eps?: number;
}

/** x divided by its Euclidean norm along `axis`. */
export const normalize = (x: Tensor, { axis = -1, eps = 1e-12 }: NormalizeOptions = {}): Tensor =>
  scope(() => div(x, clamp(norm(x, axis, true), { min: eps })));

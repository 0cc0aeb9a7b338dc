import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { normalizeAxes } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { abs } from './abs.js';
import { add } from './add.js';
import { amax } from './amax.js';
import { equal } from './equal.js';
import { exp } from './exp.js';
import { log } from './log.js';
import { maskedFill } from './maskedFill.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { floatType } from './rules.js';
import { sub } from './sub.js';
import { type ReduceAttrs, reducedShape, sum } from './sum.js';

const op = defineOp<ReduceAttrs>({
  name: 'logsumexp',
  infer(inputs, attrs) {
    const [{ shape, dtype }] = floatType('logsumexp')(inputs);
    return [{ shape: reducedShape(shape, attrs), dtype }];
  },
  decompose([input], attrs) {
    const x = input as Tensor;
    const { axes } = attrs;
    const top = amax(x, axes, true);
    // Infinite maxima are not taken off: Inf - Inf would be NaN.
    const shift = maskedFill(top, equal(abs(top), Number.POSITIVE_INFINITY), 0);
    return [reshape(add(log(sum(exp(sub(x, shift)), axes, true)), shift), reducedShape(x.shape, attrs))];
  },
  vjp: {
    saves: ([x], [y]) => [x, y],
    back: ([g], [x, y], { axes }, [spec]) => [
      () => {
        const line = reducedShape((spec as Spec).shape, { axes, keepDims: true });
        return mul(reshape(g as Tensor, line), exp(sub(x as Tensor, reshape(y as Tensor, line))));
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [3, 8] }], attrs: { axes: [1], keepDims: false } },
    { inputs: [{ shape: [2, 3, 4] }], attrs: { axes: [0, 2], keepDims: true } },
  ],
});

/** log of the sum of e^x over `axes` (default: all), without overflow. */
export const logsumexp = (x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor =>
  call1(op, [x], { axes: normalizeAxes('logsumexp', axes, x.rank), keepDims });

import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { div } from './div.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { exp } from './exp.js';
import { max } from './max.js';
import { mul } from './mul.js';
import { transpose } from './permute.js';
import { floatType } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';

const backward = defineOp({
  name: 'softmaxBackward',
  infer: floatType('softmaxBackward'),
  decompose(inputs) {
    const [dy, y] = inputs as readonly Tensor[];
    return [mul(y, sub(dy, sum(mul(dy, y), -1, true)))];
  },
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 9] }, { shape: [3, 9], low: 0, high: 1 }], attrs: {} }],
});

/** Along the last axis. */
const op = defineOp({
  name: 'softmax',
  infer: floatType('softmax'),
  decompose([input]) {
    const x = input as Tensor;
    if (x.size === 0) return [x];
    const e = exp(sub(x, max(x, -1, true).values));
    return [div(e, sum(e, -1, true))];
  },
  vjp: { saves: (_, [y]) => [y], back: ([dy], [y]) => [() => call1(backward, [dy, y], {})] },
  samples: () => [
    { inputs: [{ shape: [3, 4, 9] }], attrs: {} },
    { inputs: [{ shape: [5, 1], low: -80, high: 80 }], attrs: {} },
  ],
});

/** e^x over the sum of e^x along `axis`. A line of -Infinity alone gives NaN. */
export function softmax(x: Tensor, axis = -1): Tensor {
  const a = normalizeAxis('softmax', axis, x.rank);
  return scope(() => {
    const input = isFloat(x.dtype) ? x : cast(x, 'float32');
    return a === x.rank - 1 ? call1(op, [input], {}) : transpose(call1(op, [transpose(input, a, -1)], {}), a, -1);
  });
}

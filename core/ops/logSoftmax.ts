import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { exp } from './exp.js';
import { log } from './log.js';
import { max } from './max.js';
import { mul } from './mul.js';
import { transpose } from './permute.js';
import { floatType } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';

const backward = defineOp({
  name: 'logSoftmaxBackward',
  infer: floatType('logSoftmaxBackward'),
  decompose(inputs) {
    const [dy, y] = inputs as readonly Tensor[];
    return [sub(dy, mul(exp(y), sum(dy, -1, true)))];
  },
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 9] }, { shape: [3, 9], low: -3, high: 0 }], attrs: {} }],
});

/** Along the last axis. */
const op = defineOp({
  name: 'logSoftmax',
  infer: floatType('logSoftmax'),
  decompose([input]) {
    const x = input as Tensor;
    if (x.size === 0) return [x];
    const shifted = sub(x, max(x, -1, true).values);
    return [sub(shifted, log(sum(exp(shifted), -1, true)))];
  },
  vjp: { saves: (_, [y]) => [y], back: ([dy], [y]) => [() => call1(backward, [dy, y], {})] },
  samples: () => [
    { inputs: [{ shape: [3, 4, 9] }], attrs: {} },
    { inputs: [{ shape: [5, 1], low: -80, high: 80 }], attrs: {} },
  ],
});

/** Logarithm of softmax along `axis`, without overflow. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  const a = normalizeAxis('logSoftmax', axis, x.rank);
  return scope(() => {
    const input = isFloat(x.dtype) ? x : cast(x, 'float32');
    return a === x.rank - 1 ? call1(op, [input], {}) : transpose(call1(op, [transpose(input, a, -1)], {}), a, -1);
  });
}

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { floatType } from './rules.js';
import { sqrt } from './sqrt.js';
import { square } from './square.js';

interface PowerAttrs {
  readonly exponent: number;
}

const [g, base, power] = [E.input(0), E.input(1), E.input(2)];
const exponent = E.attr('exponent');
const positive = { shape: [3, 5], low: 0.2, high: 2 };

/** g p b^(p-1), which is 0 for p = 0 whatever b is. */
const slope = (p: typeof base) => E.select(E.equal(p, 0), 0, E.mul(g, E.mul(p, E.pow(base, E.sub(p, 1)))));

const backward = defineOp<PowerAttrs>({
  name: 'powerBackward',
  infer: floatType('powerBackward'),
  expr: slope(exponent),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 5] }, positive], attrs: { exponent: 1.7 } }],
});

const numeric = defineOp<PowerAttrs>({
  name: 'power',
  infer: floatType('power'),
  expr: E.pow(E.input(0), exponent),
  vjp: { saves: ([x]) => [x], back: ([dy], [x], attrs) => [() => call1(backward, [dy, x], attrs)] },
  samples: () => [
    { inputs: [positive], attrs: { exponent: 1.7 } },
    { inputs: [positive], attrs: { exponent: -3 } },
    { inputs: [{ shape: [3, 5] }], attrs: { exponent: 3 } },
  ],
});

const baseBackward = defineOp({
  name: 'powBackwardBase',
  infer: floatType('powBackwardBase'),
  expr: slope(power),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 5] }, positive, { shape: [3, 5] }], attrs: {} }],
});

const exponentBackward = defineOp({
  name: 'powBackwardExponent',
  infer: floatType('powBackwardExponent'),
  // 0^p is flat in p for p >= 0, where the logarithm alone would give NaN.
  expr: E.select(E.mul(E.equal(base, 0), E.lessEqual(0, power)), 0, E.mul(g, E.mul(E.pow(base, power), E.log(base)))),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 5] }, positive, { shape: [3, 5] }], attrs: {} }],
});

const op = defineOp({
  name: 'pow',
  infer: floatType('pow'),
  expr: E.pow(E.input(0), E.input(1)),
  vjp: {
    saves: ([x, p]) => [x, p],
    back: ([dy], [x, p]) => [() => call1(baseBackward, [dy, x, p], {}), () => call1(exponentBackward, [dy, x, p], {})],
  },
  samples: () => [{ inputs: [positive, { shape: [5] }], attrs: {} }],
});

/** x to the power of a number or, with broadcasting, of a tensor. */
export function pow(x: Tensor, exponent: number | Tensor): Tensor {
  if (typeof exponent !== 'number') return call1(op, [x, exponent], {});
  if (exponent === 2) return square(x);
  if (exponent === 0.5) return sqrt(x);
  return call1(numeric, [x], { exponent });
}

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { scalarLike } from './fill.js';
import { sameType } from './rules.js';

const [g, a, b] = [E.input(0), E.input(1), E.input(2)];

/** The gradient of a. */
const backward = defineOp({
  name: 'minimumBackward',
  infer: sameType('minimumBackward'),
  expr: E.select(E.less(b, a), 0, E.select(E.equal(a, b), E.mul(0.5, g), g)),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [4, 4] }, { shape: [4, 4] }, { shape: [4] }], attrs: {} }],
});

const op = defineOp({
  name: 'minimum',
  infer: sameType('minimum'),
  expr: E.minimum(E.input(0), E.input(1)),
  vjp: {
    saves: (inputs) => inputs,
    back: ([dy], [x, y]) => [() => call1(backward, [dy, x, y], {}), () => call1(backward, [dy, y, x], {})],
  },
  samples: () => [
    { inputs: [{ shape: [4, 4] }, { shape: [4, 4] }], attrs: {} },
    { inputs: [{ shape: [3, 1] }, { shape: [2, 1, 5] }], attrs: {} },
  ],
});

/** The smaller of two; NaN wins, and equal ones share the gradient. */
export const minimum = (a: Tensor, b: Tensor | number): Tensor =>
  typeof b === 'number' ? scalarLike(a, b, (s) => call1(op, [a, s], {})) : call1(op, [a, b], {});

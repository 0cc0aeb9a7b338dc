import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp, type OpDefinition } from '../op.js';
import type { Tensor } from '../tensor.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { floatType } from './rules.js';

interface DivisorAttrs {
  readonly divisor: number;
}

const [g, a, b] = [E.input(0), E.input(1), E.input(2)];
const away = { low: 0.3, high: 3 };

const backward = defineOp({
  name: 'divBackward',
  infer: floatType('divBackward'),
  expr: E.neg(E.mul(g, E.div(E.div(a, b), b))),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 4] }, { shape: [3, 4] }, { shape: [4], ...away }], attrs: {} }],
});

const op: OpDefinition = defineOp({
  name: 'div',
  infer: floatType('div'),
  expr: E.div(E.input(0), E.input(1)),
  vjp: {
    saves: (inputs) => inputs,
    back: ([dy], [x, y]) => [() => call1(op, [dy, y], {}), () => call1(backward, [dy, x, y], {})],
  },
  samples: () => [
    { inputs: [{ shape: [3, 4] }, { shape: [3, 4], ...away }], attrs: {} },
    { inputs: [{ shape: [2, 1, 5] }, { shape: [4, 1], ...away }], attrs: {} },
  ],
});

const scaled: OpDefinition<DivisorAttrs> = defineOp<DivisorAttrs>({
  name: 'divide',
  infer: floatType('divide'),
  expr: E.div(E.input(0), E.attr('divisor')),
  vjp: { back: ([dy], _, attrs) => [() => call1(scaled, [dy], attrs)] },
  samples: () => [{ inputs: [{ shape: [3, 4] }], attrs: { divisor: 3 } }],
});

/** a / b with numpy broadcasting; integers become float32. */
export function div(a: Tensor, b: Tensor | number): Tensor {
  if (typeof b === 'number') return call1(scaled, [a], { divisor: b });
  return call1(op, [a, b], {});
}

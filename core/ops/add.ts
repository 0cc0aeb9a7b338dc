import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { sameType } from './rules.js';

const op = defineOp({
  name: 'add',
  infer: sameType('add'),
  expr: E.add(E.input(0), E.input(1)),
  vjp: { back: ([g]) => [() => g as Tensor, () => g as Tensor] },
  samples: () => [
    { inputs: [{ shape: [3, 4] }, { shape: [3, 4] }], attrs: {} },
    { inputs: [{ shape: [2, 1, 5] }, { shape: [4, 1] }], attrs: {} },
  ],
});

/** a + b with numpy broadcasting. */
export function add(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? affine(a, 1, b) : call1(op, [a, b], {});
}

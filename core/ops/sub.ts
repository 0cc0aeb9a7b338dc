import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { neg } from './neg.js';
import { sameType } from './rules.js';

const op = defineOp({
  name: 'sub',
  infer: sameType('sub'),
  expr: E.sub(E.input(0), E.input(1)),
  vjp: { back: ([g]) => [() => g as Tensor, () => neg(g as Tensor)] },
  samples: () => [
    { inputs: [{ shape: [3, 4] }, { shape: [3, 4] }], attrs: {} },
    { inputs: [{ shape: [4, 1] }, { shape: [2, 1, 5] }], attrs: {} },
  ],
});

/** a - b with numpy broadcasting. */
export function sub(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? affine(a, 1, -b) : call1(op, [a, b], {});
}

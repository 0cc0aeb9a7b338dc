import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { sameType } from './rules.js';

const op = defineOp({
  name: 'mul',
  infer: sameType('mul'),
  expr: E.mul(E.input(0), E.input(1)),
  vjp: {
    saves: ([a, b]) => [b, a],
    back: ([g], [b, a]) => [() => mul(g as Tensor, b as Tensor), () => mul(g as Tensor, a as Tensor)],
  },
  samples: () => [
    { inputs: [{ shape: [3, 4] }, { shape: [3, 4] }], attrs: {} },
    { inputs: [{ shape: [3, 1, 5] }, { shape: [4, 1] }], attrs: {} },
  ],
});

/** a * b with numpy broadcasting. */
export function mul(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? affine(a, b, 0) : call1(op, [a, b], {});
}

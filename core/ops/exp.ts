import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { mul } from './mul.js';
import { floatType } from './rules.js';

const op = defineOp({
  name: 'exp',
  infer: floatType('exp'),
  expr: E.exp(E.input(0)),
  vjp: { saves: (_, [y]) => [y], back: ([g], [y]) => [() => mul(g as Tensor, y as Tensor)] },
  samples: () => [{ inputs: [{ shape: [5, 7] }], attrs: {} }],
});

/** e^x. */
export const exp = (x: Tensor): Tensor => call1(op, [x], {});

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { sameType } from './rules.js';

const op = defineOp({
  name: 'neg',
  infer: sameType('neg'),
  expr: E.neg(E.input(0)),
  vjp: { back: ([g]) => [() => neg(g as Tensor)] },
  samples: () => [{ inputs: [{ shape: [5, 7] }], attrs: {} }],
});

/** -x. */
export const neg = (x: Tensor): Tensor => call1(op, [x], {});

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { zerosLike } from './fill.js';
import { sameType } from './rules.js';

const op = defineOp({
  name: 'floor',
  infer: sameType('floor'),
  expr: E.floor(E.input(0)),
  vjp: { back: ([g]) => [() => zerosLike(g as Tensor)] },
  samples: () => [{ inputs: [{ shape: [5, 7] }], attrs: {} }],
});

/** The largest integer not above x; its gradient is 0. */
export const floor = (x: Tensor): Tensor => call1(op, [x], {});

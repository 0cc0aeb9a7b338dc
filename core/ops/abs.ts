import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'abs',
  expr: E.abs(x),
  gradient: E.mul(g, E.sub(E.less(0, saved), E.less(saved, 0))),
  saves: 'input',
  integers: true,
});

/** Absolute value; its gradient at 0 is 0. */
export const abs = op.forward;

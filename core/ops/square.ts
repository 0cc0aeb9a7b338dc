import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'square',
  expr: E.mul(x, x),
  gradient: E.mul(2, E.mul(g, saved)),
  saves: 'input',
  integers: true,
});

/** x * x. */
export const square = op.forward;

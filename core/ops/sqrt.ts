import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'sqrt',
  expr: E.sqrt(x),
  gradient: E.div(g, E.mul(2, saved)),
  saves: 'output',
  range: { low: 0.1, high: 4 },
});

/** Square root. */
export const sqrt = op.forward;

import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'log',
  expr: E.log(x),
  gradient: E.div(g, saved),
  saves: 'input',
  range: { low: 0.1, high: 4 },
});

/** Natural logarithm. */
export const log = op.forward;

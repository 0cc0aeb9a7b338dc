import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'reciprocal',
  expr: E.div(1, x),
  gradient: E.neg(E.mul(g, E.mul(saved, saved))),
  saves: 'output',
  range: { low: 0.2, high: 3 },
});

/** 1 / x. */
export const reciprocal = op.forward;

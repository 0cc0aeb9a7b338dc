import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'sigmoid',
  expr: E.div(1, E.add(1, E.exp(E.neg(x)))),
  gradient: E.mul(g, E.mul(saved, E.sub(1, saved))),
  saves: 'output',
});

/** 1 / (1 + e^-x). */
export const sigmoid = op.forward;

import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'erf',
  expr: E.erf(x),
  gradient: E.mul(g, E.mul(2 / Math.sqrt(Math.PI), E.exp(E.neg(E.mul(saved, saved))))),
  saves: 'input',
});

/** Error function. */
export const erf = op.forward;

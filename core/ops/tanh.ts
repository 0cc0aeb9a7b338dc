import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'tanh',
  expr: E.tanh(x),
  gradient: E.mul(g, E.sub(1, E.mul(saved, saved))),
  saves: 'output',
});

/** Hyperbolic tangent. */
export const tanh = op.forward;

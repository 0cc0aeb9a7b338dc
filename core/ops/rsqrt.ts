import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'rsqrt',
  expr: E.div(1, E.sqrt(x)),
  gradient: E.mul(E.mul(-0.5, g), E.mul(saved, E.mul(saved, saved))),
  saves: 'output',
  range: { low: 0.1, high: 4 },
});

/** 1 / sqrt(x). */
export const rsqrt = op.forward;

import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({
  name: 'relu',
  expr: E.maximum(x, 0),
  gradient: E.select(E.lessEqual(saved, 0), 0, g),
  saves: 'output',
  integers: true,
});

/** max(x, 0). */
export const relu = op.forward;

import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({ name: 'cos', expr: E.cos(x), gradient: E.neg(E.mul(g, E.sin(saved))), saves: 'input' });

/** Cosine of radians. */
export const cos = op.forward;

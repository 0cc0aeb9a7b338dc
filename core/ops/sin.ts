import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const op = defineUnary({ name: 'sin', expr: E.sin(x), gradient: E.mul(g, E.cos(saved)), saves: 'input' });

/** Sine of radians. */
export const sin = op.forward;

import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

const cdf = (z: typeof x) => E.mul(0.5, E.add(1, E.erf(E.mul(z, Math.SQRT1_2))));
const density = (z: typeof x) => E.mul(1 / Math.sqrt(2 * Math.PI), E.exp(E.mul(-0.5, E.mul(z, z))));

const op = defineUnary({
  name: 'gelu',
  expr: E.mul(x, cdf(x)),
  gradient: E.mul(g, E.add(cdf(saved), E.mul(saved, density(saved)))),
  saves: 'input',
});

/** x times the standard normal distribution function of x (exact, by erf). Hendrycks & Gimpel 2016. */
export const gelu = op.forward;

/** The gradient of gelu at z for dy from above. */
export const geluBackward = op.backward;

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { defineUnary, GRADIENT_ONLY, g, saved, x } from './elementwise.js';
import { floatType } from './rules.js';

const cdf = (z: typeof x) => E.mul(0.5, E.add(1, E.erf(E.mul(z, Math.SQRT1_2))));
const density = (z: typeof x) => E.mul(1 / Math.sqrt(2 * Math.PI), E.exp(E.mul(-0.5, E.mul(z, z))));
const slope = (z: typeof x) => E.add(cdf(z), E.mul(z, density(z)));

const op = defineUnary({
  name: 'gelu',
  expr: E.mul(x, cdf(x)),
  gradient: E.mul(g, slope(saved)),
  saves: 'input',
});

/** x times the standard normal distribution function of x (exact, by erf). Hendrycks & Gimpel 2016. */
export const gelu = op.forward;

/** The gradient of gelu at z for dy from above. */
export const geluBackward = op.backward;

const slopeOp = defineOp({
  name: 'geluSlope',
  infer: floatType('geluSlope'),
  expr: slope(x),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [5, 7] }], attrs: {} }],
});

/** The derivative of gelu at z. */
export const geluSlope = (z: Tensor): Tensor => call1(slopeOp, [z], {});

import type { Generator } from '../../../core/random.js';
import { between } from './chance.js';

/** The logarithm of a gamma-distributed number of the given shape (Marsaglia & Tsang 2000). */
function logGamma(random: Generator, shape: number): number {
  if (shape < 1) {
    // One shape higher, times a power of a uniform number; in logarithms, because it may be smaller than any double.
    return logGamma(random, shape + 1) + Math.log(1 - between(random, 0, 1)) / shape;
  }
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const [z] = random.normal(1);
    const cubed = (1 + c * z) ** 3;
    const uniform = 1 - between(random, 0, 1);
    if (cubed > 0 && Math.log(uniform) < (z * z) / 2 + d - d * cubed + d * Math.log(cubed)) {
      return Math.log(d * cubed);
    }
  }
}

/** A number from 0 to 1, distributed as Beta(alpha, beta); both are above 0. */
export function randomBeta(random: Generator, alpha: number, beta: number): number {
  const difference = logGamma(random, beta) - logGamma(random, alpha);
  return 1 / (1 + Math.exp(difference));
}

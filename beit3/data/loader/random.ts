import { Generator, philox, wordsOf } from '../../../core/random.js';

/** What the numbers are for: each has streams of its own. */
const PURPOSES = ['order', 'picture', 'mask', 'mix'] as const;
export type Purpose = (typeof PURPOSES)[number];

/**
 * The random numbers of one thing in an epoch (a sample by its place in the order, a batch by its number): a function of
 * these alone, so that nothing depends on who draws first. `seed` is a whole number below 2^53, `epoch` below 2^30.
 */
export function generatorOf(seed: number, purpose: Purpose, epoch: number, place: number): Generator {
  const words = new Uint32Array(4);
  philox(wordsOf(seed), [place, epoch * PURPOSES.length + PURPOSES.indexOf(purpose)], words);
  return new Generator(words[0] * 2 ** 21 + (words[1] >>> 11));
}

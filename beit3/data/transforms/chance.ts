/** Single random numbers from a generator, as the transforms need them. */

import type { Generator } from '../../../core/random.js';

/** A number from `low` to below `high`. */
export function between(random: Generator, low: number, high: number): number {
  const [a, b] = random.words(2);
  return low + (high - low) * ((a * 2 ** 21 + (b >>> 11)) / 2 ** 53);
}

/** A whole number from `low` to `high`, both included. */
export function wholeBetween(random: Generator, low: number, high: number): number {
  return random.integers(1, low, high + 1)[0];
}

/** True with this probability. */
export function happens(random: Generator, probability: number): boolean {
  return between(random, 0, 1) < probability;
}

/** One of `choices`, all equally likely. */
export function oneOf<T>(random: Generator, choices: readonly T[]): T {
  return choices[wholeBetween(random, 0, choices.length - 1)];
}

/** `value` or its negative, equally likely. */
export function eitherSign(random: Generator, value: number): number {
  return happens(random, 0.5) ? -value : value;
}

import { InputError } from '../../core/errors.js';

/** Probabilities that sum to 1. */
export function softmax(logits: ArrayLike<number>): Float64Array {
  const out = Float64Array.from(logits);
  const most = out.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (let i = 0; i < out.length; i++) sum += out[i] = Math.exp(out[i] - most);
  return out.map((v) => v / sum);
}

/** Each value apart, into 0 to 1. */
export function sigmoid(logits: ArrayLike<number>): Float64Array {
  return Float64Array.from(logits, (v) => 1 / (1 + Math.exp(-v)));
}

/** Indices of the `count` largest values, largest first; equal ones in order. */
export function topIndices(values: ArrayLike<number>, count: number): number[] {
  return Array.from(values, (_, i) => i)
    .sort((a, b) => values[b] - values[a] || a - b)
    .slice(0, count);
}

/** The number of results asked for. */
export function topCount(top = 5): number {
  if (Number.isInteger(top) && top >= 1) return top;
  throw new InputError(`The number of results must be a whole number of 1 or more, got ${top}.`);
}

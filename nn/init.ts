/** Initialisers: host values of a shape, from a generator, so that every backend starts from the same numbers. */
import { sizeOf } from '../core/layout.js';
import type { Generator } from '../core/random.js';

export type Initializer = (shape: readonly number[], generator: Generator) => Float32Array;

export const constant =
  (value: number): Initializer =>
  (shape) =>
    new Float32Array(sizeOf(shape)).fill(value);

export const zeros = constant(0);
export const ones = constant(1);

export const uniform =
  (low: number, high: number): Initializer =>
  (shape, generator) =>
    generator.uniform(sizeOf(shape)).map((u) => low + (high - low) * u);

export const normal =
  (std = 1, mean = 0): Initializer =>
  (shape, generator) =>
    generator.normal(sizeOf(shape)).map((z) => mean + std * z);

/** Normal values redrawn until they lie within `bound` (default: one standard deviation, as the reference does). */
export const truncatedNormal =
  (std: number, bound = std): Initializer =>
  (shape, generator) =>
    generator.truncatedNormal(sizeOf(shape), -bound / std, bound / std).map((z) => std * z);

/** Fan-in and fan-out of a weight [out, in, ...kernel]. */
export function fans(shape: readonly number[]): { fanIn: number; fanOut: number } {
  const field = sizeOf(shape.slice(2));
  return { fanIn: (shape[1] ?? 1) * field, fanOut: (shape[0] ?? 1) * field };
}

/** Glorot & Bengio 2010: uniform in +-gain * sqrt(6 / (fanIn + fanOut)). */
export const xavierUniform =
  (gain = 1): Initializer =>
  (shape, generator) => {
    const { fanIn, fanOut } = fans(shape);
    const bound = gain * Math.sqrt(6 / (fanIn + fanOut));
    return uniform(-bound, bound)(shape, generator);
  };

/** Uniform in +-1/sqrt(fanIn): PyTorch's default for Linear and Conv2d weights. */
export const fanInUniform =
  (fanIn?: number): Initializer =>
  (shape, generator) => {
    const bound = 1 / Math.sqrt(Math.max(1, fanIn ?? fans(shape).fanIn));
    return uniform(-bound, bound)(shape, generator);
  };

/** Another initialiser's values times a factor. */
export const scaled =
  (init: Initializer, factor: number): Initializer =>
  (shape, generator) =>
    init(shape, generator).map((v) => v * factor);

/** NaN, infinities and zeros. */
import type { Attrs } from '../../core/backend.js';
import type { Sample } from '../../core/op.js';
import type { Input } from '../support/samples.js';

/** What is put once into the operands of ops that are not elementwise. */
export const SPECIALS = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0];

// Nothing so small or large that float32 rounds it to 0 or Infinity where float64 does not.
const VALUES = [...SPECIALS, 0, 1, -1, 0.5, 3, -5];

/** A sample of an elementwise op in which every combination of the values occurs: operand i varies along axis i. */
export function combinations({ inputs, attrs }: Sample<Attrs>): Sample<Attrs> {
  const n = VALUES.length;
  const shape = inputs.map(() => n);
  const values = (axis: number) =>
    Array.from({ length: n ** shape.length }, (_, i) => VALUES[Math.floor(i / n ** (shape.length - 1 - axis)) % n]);
  return { attrs, inputs: inputs.map((input, i): Input => ({ ...input, shape, values: values(i) })) };
}

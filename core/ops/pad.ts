import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { full } from './fill.js';
import { logicalNot } from './logicalNot.js';
import { maskedFill } from './maskedFill.js';
import { padZeros } from './slice.js';

/** x with `widths[i][0]` elements of `value` before and `widths[i][1]` after each axis i. */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  if (value === 0) return padZeros(x, widths);
  return scope(() => {
    const inside = padZeros(full(x.shape, 1, { dtype: 'bool', backend: x.backend }), widths);
    return maskedFill(padZeros(x, widths), logicalNot(inside), value);
  });
}

import { isFloat } from '../dtype.js';
import { normalizeAxes, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { div } from './div.js';
import { widen } from './fused.js';
import { sum } from './sum.js';

/** Arithmetic mean over `axes` (default: all); the axes go unless `keepDims`. NaN over nothing. */
export function mean(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  const list = normalizeAxes('mean', axes, x.rank);
  return scope(() => {
    // The sum of many 16-bit floats may be none itself.
    const [wide, dtype] = isFloat(x.dtype) ? [widen(x), x.dtype] : [cast(x, 'float32'), 'float32' as const];
    return cast(div(sum(wide, list, keepDims), sizeOf(list.map((a) => x.shape[a]))), dtype);
  });
}

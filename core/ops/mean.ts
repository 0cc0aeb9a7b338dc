import { isFloat } from '../dtype.js';
import { normalizeAxes, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { div } from './div.js';
import { sum } from './sum.js';

/** Arithmetic mean over `axes` (default: all); the axes go unless `keepDims`. NaN over nothing. */
export function mean(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  const list = normalizeAxes('mean', axes, x.rank);
  return scope(() =>
    div(sum(isFloat(x.dtype) ? x : cast(x, 'float32'), list, keepDims), sizeOf(list.map((a) => x.shape[a]))),
  );
}

import { normalizeAxes } from '../layout.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { arange } from './arange.js';
import { indexSelect } from './gatherRows.js';

/** x with the order along `axes` reversed. */
export function flip(x: Tensor, axes: number | readonly number[]): Tensor {
  return scope(() =>
    normalizeAxes('flip', axes, x.rank).reduce(
      (y, a) => indexSelect(y, a, arange(x.shape[a] - 1, -1, -1, { backend: x.backend })),
      x,
    ),
  );
}

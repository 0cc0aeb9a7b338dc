import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { formatShape, normalizeAxis } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { need } from './rules.js';

const op = defineOp<{ readonly axes: readonly number[] }>({
  name: 'permute',
  moves: true,
  infer(inputs, { axes }) {
    const x = need('permute', inputs, 0);
    if (axes.length !== x.shape.length || new Set(axes).size !== axes.length) {
      throw new OpError('permute', `expected each axis of ${formatShape(x.shape)} once, got ${formatShape(axes)}`);
    }
    return [{ shape: axes.map((a) => x.shape[a]), dtype: x.dtype }];
  },
  view: (x, { axes }) => ({
    shape: axes.map((a) => x.shape[a]),
    strides: axes.map((a) => x.strides[a]),
    offset: x.offset,
  }),
  vjp: {
    back: ([g], _, { axes }) => [
      () =>
        permute(
          g as Tensor,
          axes.map((_, i) => axes.indexOf(i)),
        ),
    ],
  },
  samples: () => [{ inputs: [{ shape: [3, 4, 5] }], attrs: { axes: [2, 0, 1] } }],
});

/** A view with the axes in another order: axis i of the result is axis `axes[i]` of x. */
export const permute = (x: Tensor, axes: readonly number[]): Tensor =>
  call1(op, [x], { axes: axes.map((a) => normalizeAxis('permute', a, x.rank)) });

/** A view with two axes exchanged (default: the last two). */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  const [i, j] = [normalizeAxis('transpose', a, x.rank), normalizeAxis('transpose', b, x.rank)];
  return permute(
    x,
    x.shape.map((_, k) => (k === i ? j : k === j ? i : k)),
  );
}

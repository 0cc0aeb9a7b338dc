import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { broadcastStrides, expectSizes, formatShape, sameShape } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { need } from './rules.js';

export interface ShapeAttrs {
  readonly shape: readonly number[];
}

const op = defineOp<ShapeAttrs>({
  name: 'expand',
  moves: true,
  infer(inputs, { shape }) {
    const x = need('expand', inputs, 0);
    expectSizes('expand', shape);
    const lead = shape.length - x.shape.length;
    if (lead < 0 || x.shape.some((d, i) => d !== 1 && d !== shape[lead + i])) {
      throw new OpError(
        'expand',
        `expected a shape that broadcasts to ${formatShape(shape)}, got ${formatShape(x.shape)}`,
      );
    }
    return [{ shape, dtype: x.dtype }];
  },
  view: (x, { shape }) => ({ shape: [...shape], strides: broadcastStrides(x, shape), offset: x.offset }),
  // Autograd sums the broadcast axes of any gradient.
  vjp: { back: ([g]) => [() => g as Tensor] },
  samples: () => [{ inputs: [{ shape: [1, 3, 1] }], attrs: { shape: [4, 3, 5] } }],
});

/** A view that repeats axes of size 1 (and new leading axes) to `shape`; -1 keeps an axis. */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  const lead = shape.length - x.rank;
  const full = shape.map((d, i) => (d === -1 && i >= lead ? x.shape[i - lead] : d));
  return sameShape(full, x.shape) ? x : call1(op, [x], { shape: full });
}

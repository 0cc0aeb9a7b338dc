import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { contiguousStrides, formatShape, isContiguous, sameShape, sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { contiguous } from './contiguous.js';
import type { ShapeAttrs } from './expand.js';
import { need } from './rules.js';

const op = defineOp<ShapeAttrs>({
  name: 'reshape',
  moves: true,
  infer(inputs, { shape }) {
    const x = need('reshape', inputs, 0);
    if (sizeOf(shape) !== sizeOf(x.shape)) {
      throw new OpError('reshape', `expected a shape of ${sizeOf(x.shape)} elements for ${formatShape(x.shape)}, got ${formatShape(shape)}`);
    }
    return [{ shape, dtype: x.dtype }];
  },
  view: (x, { shape }) => ({ shape: [...shape], strides: contiguousStrides(shape), offset: x.offset }),
  vjp: { back: ([g], _, __, [x]) => [() => reshape(g as Tensor, x?.shape ?? [])] },
  samples: () => [{ inputs: [{ shape: [3, 4, 5] }], attrs: { shape: [5, 12] } }],
});

/** The same elements in row-major order under another shape; one size may be -1. Copies only what is not contiguous. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const full = shape.map((d) => (d === -1 ? Math.floor(x.size / Math.max(known, 1)) : d));
  if (sameShape(full, x.shape)) return x;
  return call1(op, [isContiguous(x) ? x : contiguous(x)], { shape: full });
}

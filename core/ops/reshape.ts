import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { expectList, expectSizes, formatShape, normalizeAxis, sameShape, sizeOf, viewStrides } from '../layout.js';
import { scope } from '../memory.js';
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
    expectSizes('reshape', shape);
    if (sizeOf(shape) !== sizeOf(x.shape)) {
      throw new OpError(
        'reshape',
        `expected a shape of ${sizeOf(x.shape)} elements for ${formatShape(x.shape)}, got ${formatShape(shape)}`,
      );
    }
    return [{ shape, dtype: x.dtype }];
  },
  view(x, { shape }) {
    const strides = viewStrides(x, shape);
    if (!strides)
      throw new OpError('reshape', `expected a layout that reads as ${formatShape(shape)}; make it contiguous first`);
    return { shape: [...shape], strides, offset: x.offset };
  },
  vjp: { back: ([g], _, __, [x]) => [() => reshape(g as Tensor, x?.shape ?? [])] },
  samples: () => [{ inputs: [{ shape: [3, 4, 5] }], attrs: { shape: [5, 12] } }],
});

/** The same elements in row-major order under another shape; one size may be -1. A view wherever strides allow it. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  expectList('reshape', 'a shape such as [2, -1]', shape);
  if (shape.filter((d) => d === -1).length > 1) {
    throw new OpError('reshape', `expected at most one size of -1, got ${formatShape(shape)}`);
  }
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const full = shape.map((d) => (d === -1 ? Math.floor(x.size / Math.max(known, 1)) : d));
  if (sameShape(full, x.shape)) return x;
  if (sizeOf(full) !== x.size || viewStrides(x, full)) return call1(op, [x], { shape: full });
  return scope(() => call1(op, [contiguous(x)], { shape: full }));
}

/** Without axis `axis` of size 1 (default: without every axis of size 1). */
export function squeeze(x: Tensor, axis?: number): Tensor {
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((d) => d !== 1),
    );
  const a = normalizeAxis('squeeze', axis, x.rank);
  if (x.shape[a] !== 1) throw new OpError('squeeze', `expected an axis of size 1 at ${axis}, got ${x}`);
  return reshape(x, x.shape.toSpliced(a, 1));
}

/** With a new axis of size 1 at `axis` of the result. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  return reshape(x, x.shape.toSpliced(normalizeAxis('unsqueeze', axis, x.rank + 1), 0, 1));
}

/** Axes `start` to `end` (inclusive; default: all) joined into one. */
export function flatten(x: Tensor, start = 0, end = -1): Tensor {
  if (x.rank === 0) return reshape(x, [1]);
  const a = normalizeAxis('flatten', start, x.rank);
  const b = normalizeAxis('flatten', end, x.rank);
  if (a > b) throw new OpError('flatten', `expected a first axis not after the last, got ${start} and ${end}`);
  return reshape(x, x.shape.toSpliced(a, b - a + 1, sizeOf(x.shape.slice(a, b + 1))));
}

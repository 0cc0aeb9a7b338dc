import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { contiguousStrides, formatShape, normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat, type OpDefinition } from '../op.js';
import type { Tensor } from '../tensor.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { walk } from './walk.js';

/** A regular grid inside a larger array. */
export interface GridAttrs {
  readonly shape: readonly number[];
  readonly starts: readonly number[];
  readonly steps: readonly number[];
}

function checkGrid(op: string, inner: readonly number[], outer: readonly number[], { starts, steps }: GridAttrs): void {
  const fits =
    inner.length === outer.length &&
    inner.every(
      (d, i) =>
        starts[i] >= 0 &&
        steps[i] >= 1 &&
        (d === 0 ? starts[i] <= outer[i] : starts[i] + (d - 1) * steps[i] < outer[i]),
    );
  if (!fits) {
    throw new OpError(
      op,
      `expected a grid inside ${formatShape(outer)}, got ${formatShape(inner)} from ${formatShape(starts)} by ${formatShape(steps)}`,
    );
  }
}

/** x written into zeros of `shape`: the adjoint of slice. */
const padding: OpDefinition<GridAttrs> = defineOp<GridAttrs>({
  name: 'pad',
  moves: true,
  infer(inputs, attrs) {
    const x = need('pad', inputs, 0);
    checkGrid('pad', x.shape, attrs.shape, attrs);
    return [{ shape: attrs.shape, dtype: x.dtype }];
  },
  reference([input], [y], { shape, starts, steps }) {
    const x = input as Flat;
    const strides = contiguousStrides(shape);
    const first = starts.reduce((n, s, i) => n + s * strides[i], 0);
    walk(
      x.shape,
      steps.map((s, i) => s * strides[i]),
      (position, at) => {
        y.values[first + at] = x.values[position];
      },
    );
  },
  vjp: { back: ([g], _, attrs, [x]) => [() => call1(op, [g], { ...attrs, shape: (x as Spec).shape })] },
  samples: () => [
    { inputs: [{ shape: [2, 3] }], attrs: { shape: [4, 7], starts: [1, 0], steps: [1, 2] } },
    { inputs: [{ shape: [3, 2], dtype: 'int32', high: 9 }], attrs: { shape: [3, 5], starts: [0, 2], steps: [1, 1] } },
  ],
});

const op: OpDefinition<GridAttrs> = defineOp<GridAttrs>({
  name: 'slice',
  moves: true,
  infer(inputs, attrs) {
    const x = need('slice', inputs, 0);
    checkGrid('slice', attrs.shape, x.shape, attrs);
    return [{ shape: attrs.shape, dtype: x.dtype }];
  },
  view: (x, { shape, starts, steps }) => ({
    shape: [...shape],
    strides: x.strides.map((s, i) => s * steps[i]),
    offset: x.offset + starts.reduce((n, s, i) => n + s * x.strides[i], 0),
  }),
  vjp: { back: ([g], _, attrs, [x]) => [() => call1(padding, [g], { ...attrs, shape: (x as Spec).shape })] },
  samples: () => [
    { inputs: [{ shape: [3, 7, 5] }], attrs: { shape: [3, 3, 4], starts: [0, 1, 1], steps: [1, 2, 1] } },
    { inputs: [{ shape: [4] }], attrs: { shape: [0], starts: [2], steps: [1] } },
  ],
});

/** Elements `start` to before `end` of an axis, every `step`-th; negative bounds count from the end. A view. */
export function slice(x: Tensor, axis: number, start = 0, end = Number.POSITIVE_INFINITY, step = 1): Tensor {
  const a = normalizeAxis('slice', axis, x.rank);
  if (!Number.isInteger(step) || step < 1) throw new OpError('slice', `expected a step of 1 or more, got ${step}`);
  const length = x.shape[a];
  const bound = (v: number) => Math.min(Math.max(v < 0 ? v + length : v, 0), length);
  const from = bound(start);
  const to = bound(end);
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (!Number.isInteger(from) || !Number.isInteger(to))
    throw new OpError('slice', `expected whole bounds, got ${start} and ${end}`);
  return call1(op, [x], {
    shape: x.shape.with(a, count),
    starts: x.shape.map((_, i) => (i === a ? from : 0)),
    steps: x.shape.map((_, i) => (i === a ? step : 1)),
  });
}

/** `length` elements of an axis from `start` on. A view. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  const a = normalizeAxis('narrow', axis, x.rank);
  const from = start < 0 ? start + x.shape[a] : start;
  if (from < 0 || length < 0 || from + length > x.shape[a]) {
    throw new OpError('narrow', `expected ${length} elements from ${start} on along axis ${axis}, got ${x}`);
  }
  return slice(x, a, from, from + length);
}

/** Element `index` of an axis, which goes; negative counts from the end. A view. */
export function select(x: Tensor, axis: number, index: number): Tensor {
  const a = normalizeAxis('select', axis, x.rank);
  const at = index < 0 ? index + x.shape[a] : index;
  if (!(at >= 0 && at < x.shape[a]))
    throw new OpError('select', `expected an index ${index} along axis ${axis}, got ${x}`);
  return scope(() => reshape(slice(x, a, at, at + 1), x.shape.toSpliced(a, 1)));
}

/** Pieces of the given sizes (or of one size, the last may be smaller) along an axis. Views. */
export function split(x: Tensor, sizes: number | readonly number[], axis = 0): Tensor[] {
  const a = normalizeAxis('split', axis, x.rank);
  const length = x.shape[a];
  if (typeof sizes === 'number' && !(sizes >= 1))
    throw new OpError('split', `expected a size of 1 or more, got ${sizes}`);
  const list =
    typeof sizes === 'number'
      ? Array.from({ length: Math.ceil(length / sizes) }, (_, i) => Math.min(sizes, length - i * sizes))
      : sizes;
  if (list.reduce((n, s) => n + s, 0) !== length) {
    throw new OpError('split', `expected sizes that add up to ${length}, got ${formatShape(list)}`);
  }
  let at = 0;
  return list.map((size) => narrow(x, a, (at += size) - size, size));
}

/** At most `count` pieces of equal size (the last may be smaller) along an axis. Views. */
export function chunk(x: Tensor, count: number, axis = 0): Tensor[] {
  const length = x.shape[normalizeAxis('chunk', axis, x.rank)];
  if (!(Number.isInteger(count) && count >= 1))
    throw new OpError('chunk', `expected a count of 1 or more, got ${count}`);
  return split(x, Math.max(1, Math.ceil(length / count)), axis);
}

/** Zeros of a larger shape with x written into them from `starts` on, every `steps`-th element. */
export const padGrid = (x: Tensor, attrs: GridAttrs): Tensor => call1(padding, [x], attrs);

/** x with `widths[i][0]` zeros before and `widths[i][1]` after each axis i. */
export function padZeros(x: Tensor, widths: readonly (readonly [number, number])[]): Tensor {
  if (widths.length !== x.rank)
    throw new OpError('pad', `expected one [before, after] per axis of ${x}, got ${widths.length}`);
  return padGrid(x, {
    shape: x.shape.map((d, i) => widths[i][0] + d + widths[i][1]),
    starts: widths.map(([before]) => before),
    steps: x.shape.map(() => 1),
  });
}

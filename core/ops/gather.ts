import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { OpError } from '../errors.js';
import { contiguousStrides, normalizeAxis } from '../layout.js';
import { defineOp, type Flat, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { formatSpec, need } from './rules.js';
import { walk } from './walk.js';

interface ScatterAttrs {
  readonly axis: number;
  readonly shape: readonly number[];
}

/** Index must be integer and lie within `shape` in all axes but `axis`. */
function checkIndex(op: string, index: Spec, shape: readonly number[], axis: number): void {
  if (isFloat(index.dtype)) throw new OpError(op, `expected integer indices, got ${formatSpec(index)}`);
  if (index.shape.length !== shape.length || index.shape.some((d, i) => i !== axis && d > shape[i])) {
    throw new OpError(
      op,
      `expected indices that fit into [${shape.join(', ')}] except in axis ${axis}, got ${formatSpec(index)}`,
    );
  }
}

/** Visits every index with its position and the position of the element of `shape` that it names. */
function forEachPointer(
  op: string,
  index: Flat,
  shape: readonly number[],
  axis: number,
  visit: (position: number, at: number) => void,
): void {
  const strides = contiguousStrides(shape);
  walk(index.shape, strides.with(axis, 0), (position, at) => {
    const i = index.values[position];
    if (!(i >= 0 && i < shape[axis])) throw new OpError(op, `expected indices from 0 to ${shape[axis] - 1}, got ${i}`);
    visit(position, at + i * strides[axis]);
  });
}

const scatter = defineOp<ScatterAttrs>({
  name: 'scatterAdd',
  infer(inputs: readonly SpecOrNull[], { axis, shape }) {
    const g = need('scatterAdd', inputs, 0);
    checkIndex('scatterAdd', need('scatterAdd', inputs, 1), shape, axis);
    return [{ shape, dtype: g.dtype }];
  },
  reference([g, index], [y], { axis, shape }) {
    forEachPointer('scatterAdd', index as Flat, shape, axis, (position, at) => {
      y.values[at] += (g as Flat).values[position];
    });
  },
  vjp: {
    saves: ([, index]) => [index],
    back: ([g], [index], { axis }) => [() => gather(g as Tensor, axis, index as Tensor), null],
  },
  samples: () => [
    { inputs: [{ shape: [4, 3] }, { shape: [4, 3], dtype: 'int32', high: 9 }], attrs: { axis: 1, shape: [4, 9] } },
  ],
});

const op = defineOp<{ readonly axis: number }>({
  name: 'gather',
  moves: true,
  infer(inputs, { axis }) {
    const [x, index] = [need('gather', inputs, 0), need('gather', inputs, 1)];
    checkIndex('gather', index, x.shape, axis);
    return [{ shape: index.shape, dtype: x.dtype }];
  },
  reference([x, index], [y], { axis }) {
    forEachPointer('gather', index as Flat, (x as Flat).shape, axis, (position, at) => {
      y.values[position] = (x as Flat).values[at];
    });
  },
  vjp: {
    saves: ([, index]) => [index],
    back: ([g], [index], { axis }, [x]) => [
      () => scatterAdd(g as Tensor, axis, index as Tensor, (x as Spec).shape),
      null,
    ],
  },
  samples: () => [
    { inputs: [{ shape: [4, 9] }, { shape: [4, 3], dtype: 'int32', high: 9 }], attrs: { axis: 1 } },
    { inputs: [{ shape: [5, 4] }, { shape: [2, 3], dtype: 'int32', high: 5 }], attrs: { axis: 0 } },
  ],
});

/** For each place of `index`, the element of x whose position along `axis` is that index; its other axes agree. */
export const gather = (x: Tensor, axis: number, index: Tensor): Tensor =>
  call1(op, [x, index], { axis: normalizeAxis('gather', axis, x.rank) });

/** Zeros of `shape` to which each element of g is added where gather would have read it. */
export const scatterAdd = (g: Tensor, axis: number, index: Tensor, shape: readonly number[]): Tensor =>
  call1(scatter, [g, index], { axis: normalizeAxis('scatterAdd', axis, shape.length), shape });

import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { promote } from '../dtype.js';
import { OpError } from '../errors.js';
import { expectList, formatShape, normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { unsqueeze } from './reshape.js';
import { formatSpec, need } from './rules.js';
import { narrow } from './slice.js';
import { around } from './walk.js';

const op = defineOp<{ readonly axis: number }>({
  name: 'cat',
  moves: true,
  infer(inputs, { axis }) {
    const first = need('cat', inputs, 0);
    const all = inputs.map((_, i) => need('cat', inputs, i));
    for (const s of all) {
      const fits = s.shape.length === first.shape.length && s.shape.every((d, i) => i === axis || d === first.shape[i]);
      if (!fits || s.dtype !== first.dtype) {
        throw new OpError(
          'cat',
          `expected operands that differ in axis ${axis} alone, got ${formatSpec(first)} and ${formatSpec(s)}`,
        );
      }
    }
    return [
      {
        shape: first.shape.with(
          axis,
          all.reduce((n, s) => n + s.shape[axis], 0),
        ),
        dtype: first.dtype,
      },
    ];
  },
  reference(inputs, [y], { axis }) {
    const { outer, length, inner } = around(y.shape, axis);
    let start = 0;
    for (const x of inputs as readonly Flat[]) {
      const row = x.shape[axis] * inner;
      for (let o = 0; o < outer; o++)
        y.values.set(x.values.subarray(o * row, (o + 1) * row), (o * length + start) * inner);
      start += x.shape[axis];
    }
  },
  vjp: {
    back([g], _, { axis }, inputs) {
      let start = 0;
      return inputs.map((spec) => {
        const length = (spec as Spec).shape[axis];
        const at = start;
        start += length;
        return () => narrow(g as Tensor, axis, at, length);
      });
    },
  },
  samples: () => [
    { inputs: [{ shape: [2, 3, 4] }, { shape: [2, 5, 4] }], attrs: { axis: 1 } },
    { inputs: [{ shape: [2] }, { shape: [0] }, { shape: [3] }], attrs: { axis: 0 } },
    {
      inputs: [
        { shape: [3, 2], dtype: 'bool' },
        { shape: [3, 1], dtype: 'bool' },
      ],
      attrs: { axis: 1 },
    },
  ],
});

/** Tensors joined along an existing axis; they agree in every other one. */
export function cat(list: readonly Tensor[], axis = 0): Tensor {
  expectList('cat', 'a list of tensors', list);
  if (list.length === 0) throw new OpError('cat', `expected at least one tensor, got ${formatShape([])}`);
  const dtype = list.map((t) => t.dtype).reduce(promote);
  const attrs = { axis: normalizeAxis('cat', axis, list[0].rank) };
  return scope(() =>
    call1(
      op,
      list.map((t) => cast(t, dtype)),
      attrs,
    ),
  );
}

/** Tensors of one shape joined along a new axis. */
export const stack = (list: readonly Tensor[], axis = 0): Tensor =>
  scope(() =>
    cat(
      list.map((t) => unsqueeze(t, axis)),
      axis,
    ),
  );

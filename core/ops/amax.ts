import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { normalizeAxes } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { div } from './div.js';
import { equal } from './equal.js';
import { max, opposite } from './max.js';
import { mul } from './mul.js';
import { permute } from './permute.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { type ReduceAttrs, reducedShape, sum } from './sum.js';

const op = defineOp<ReduceAttrs>({
  name: 'amax',
  infer(inputs, attrs) {
    const x = need('amax', inputs, 0);
    return [{ shape: reducedShape(x.shape, attrs), dtype: x.dtype }];
  },
  decompose([input], attrs) {
    const x = input as Tensor;
    const { axes } = attrs;
    if (axes.length === 0) return [x];
    if (axes.length === 1) return [max(x, axes[0], attrs.keepDims).values];
    const kept = x.shape.flatMap((_, i) => (axes.includes(i) ? [] : [i]));
    const joined = reshape(permute(x, [...kept, ...axes]), [
      ...kept.map((i) => x.shape[i]),
      axes.reduce((n, a) => n * x.shape[a], 1),
    ]);
    return [reshape(max(joined, kept.length).values, reducedShape(x.shape, attrs))];
  },
  vjp: {
    saves: ([x], [y]) => [x, y],
    back: ([g], [x, y], { axes }, [spec]) => [
      () => {
        const { shape, dtype } = spec as Spec;
        const line = reducedShape(shape, { axes, keepDims: true });
        const hit = cast(equal(x as Tensor, reshape(y as Tensor, line)), dtype);
        return mul(hit, div(reshape(g as Tensor, line), sum(hit, axes, true)));
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [3, 8] }], attrs: { axes: [1], keepDims: false } },
    { inputs: [{ shape: [3, 4, 5] }], attrs: { axes: [0, 2], keepDims: true } },
  ],
});

/** Largest element over `axes` (default: all); equal ones share the gradient. */
export const amax = (x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor =>
  call1(op, [x], { axes: normalizeAxes('amax', axes, x.rank), keepDims });

/** Smallest element over `axes` (default: all); equal ones share the gradient. */
export const amin = (x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor =>
  scope(() => cast(opposite(amax(opposite(x), axes, keepDims)), x.dtype));

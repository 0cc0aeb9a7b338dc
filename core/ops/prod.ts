import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { normalizeAxes } from '../layout.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { forEachReduced, type ReduceAttrs, reducedShape } from './sum.js';

/** g (with the reduced axes kept) times the product of all other elements. */
const backward = defineOp<ReduceAttrs>({
  name: 'prodBackward',
  infer: (inputs) => [need('prodBackward', inputs, 1)],
  reference([g, x], [dx], { axes }) {
    const groups = Array.from((g as Flat).values, () => [] as number[]);
    let position = 0;
    forEachReduced(x as Flat, axes, (_, to) => groups[to].push(position++));
    groups.forEach((group, to) => {
      // Products of what lies before and after, so that zeros need no division.
      const after = new Float64Array(group.length + 1).fill(1);
      for (let i = group.length - 1; i >= 0; i--) after[i] = after[i + 1] * (x as Flat).values[group[i]];
      let before = (g as Flat).values[to];
      group.forEach((at, i) => {
        dx.values[at] = before * after[i + 1];
        before *= (x as Flat).values[at];
      });
    });
  },
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 1] }, { shape: [3, 4] }], attrs: { axes: [1], keepDims: true } }],
});

const op = defineOp<ReduceAttrs>({
  name: 'prod',
  infer(inputs, attrs) {
    const x = need('prod', inputs, 0);
    return [{ shape: reducedShape(x.shape, attrs), dtype: isFloat(x.dtype) ? x.dtype : 'int32' }];
  },
  reference([x], [y], { axes }) {
    y.values.fill(1);
    forEachReduced(x as Flat, axes, (value, to) => {
      y.values[to] *= value;
    });
  },
  vjp: {
    saves: ([x]) => [x],
    back: ([g], [x], attrs, [spec]) => [
      () => {
        const shape = reducedShape((spec as Spec).shape, { ...attrs, keepDims: true });
        return call1(backward, [reshape(g as Tensor, shape), x], attrs);
      },
    ],
  },
  samples: () => [
    { inputs: [{ shape: [3, 4] }], attrs: { axes: [1], keepDims: false } },
    { inputs: [{ shape: [2, 3, 2] }], attrs: { axes: [0, 2], keepDims: true } },
  ],
});

/** Product over `axes` (default: all); the axes go unless `keepDims`. */
export const prod = (x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor =>
  call1(op, [x], { axes: normalizeAxes('prod', axes, x.rank), keepDims });

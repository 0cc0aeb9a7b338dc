import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { scalarLike } from './fill.js';
import { boolType } from './rules.js';

const op = defineOp({
  name: 'greater',
  infer: boolType('greater'),
  expr: E.less(E.input(1), E.input(0)),
  nonDifferentiable: 'its result is a truth value',
  samples: () => [
    { inputs: [{ shape: [3, 4] }, { shape: [4] }], attrs: {} },
    {
      inputs: [
        { shape: [3, 4], dtype: 'int32', high: 3 },
        { shape: [3, 1], dtype: 'int32', high: 3 },
      ],
      attrs: {},
    },
  ],
});

/** Whether a > b, with broadcasting. */
export const greater = (a: Tensor, b: Tensor | number): Tensor =>
  typeof b === 'number' ? scalarLike(a, b, (s) => call1(op, [a, s], {})) : call1(op, [a, b], {});

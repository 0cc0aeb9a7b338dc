import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { boolType } from './rules.js';

const isTrue = (i: number) => E.sub(1, E.equal(E.input(i), 0));

const op = defineOp({
  name: 'logicalOr',
  infer: boolType('logicalOr'),
  expr: E.maximum(isTrue(0), isTrue(1)),
  nonDifferentiable: 'its result is a truth value',
  samples: () => [
    {
      inputs: [
        { shape: [3, 4], dtype: 'bool' },
        { shape: [4], dtype: 'bool' },
      ],
      attrs: {},
    },
  ],
});

/** Whether one of two is not 0, with broadcasting. */
export const logicalOr = (a: Tensor, b: Tensor): Tensor => call1(op, [a, b], {});

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { boolType } from './rules.js';

const op = defineOp({
  name: 'logicalNot',
  infer: boolType('logicalNot'),
  expr: E.equal(E.input(0), 0),
  nonDifferentiable: 'its result is a truth value',
  samples: () => [{ inputs: [{ shape: [3, 4], dtype: 'bool' }], attrs: {} }],
});

/** Whether x is 0. */
export const logicalNot = (x: Tensor): Tensor => call1(op, [x], {});

import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { OpError } from '../errors.js';
import { E } from '../expr.js';
import { defineOp, type OpDefinition } from '../op.js';
import type { Tensor } from '../tensor.js';
import { need, sameType } from './rules.js';

interface FillAttrs {
  readonly value: number;
}

const op: OpDefinition<FillAttrs> = defineOp<FillAttrs>({
  name: 'maskedFill',
  infer(inputs, { value }) {
    const { dtype } = need('maskedFill', inputs, 0);
    if (!isFloat(dtype) && !Number.isFinite(value))
      throw new OpError('maskedFill', `expected a finite value for ${dtype}, got ${value}`);
    return [{ shape: sameType('maskedFill')(inputs)[0].shape, dtype }];
  },
  expr: E.select(E.input(1), E.attr('value'), E.input(0)),
  vjp: { saves: ([, mask]) => [mask], back: ([g], [mask]) => [() => call1(op, [g, mask], { value: 0 }), null] },
  samples: () => [
    { inputs: [{ shape: [4, 6] }, { shape: [4, 6], dtype: 'bool' }], attrs: { value: -3 } },
    { inputs: [{ shape: [4, 6] }, { shape: [6], dtype: 'bool' }], attrs: { value: Number.NEGATIVE_INFINITY } },
  ],
});

/** x with `value` wherever `mask` (broadcast) is not 0. */
export const maskedFill = (x: Tensor, mask: Tensor, value: number): Tensor => call1(op, [x, mask], { value });

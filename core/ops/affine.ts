import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { need } from './rules.js';

export interface AffineAttrs {
  readonly scale: number;
  readonly shift: number;
}

const op = defineOp<AffineAttrs>({
  name: 'affine',
  // Integers stay integers under integers, as in PyTorch.
  infer(inputs, { scale, shift }) {
    const { shape, dtype } = need('affine', inputs, 0);
    if (isFloat(dtype)) return [{ shape, dtype }];
    const whole = Number.isInteger(scale) && Number.isInteger(shift);
    return [{ shape, dtype: !whole ? 'float32' : dtype === 'bool' ? 'int32' : dtype }];
  },
  expr: E.add(E.mul(E.input(0), E.attr('scale')), E.attr('shift')),
  vjp: { back: ([g], _, { scale }) => [() => affine(g as Tensor, scale, 0)] },
  samples: () => [
    { inputs: [{ shape: [3, 5] }], attrs: { scale: -1.5, shift: 0.25 } },
    { inputs: [{ shape: [3, 5], dtype: 'int32', low: -9, high: 9 }], attrs: { scale: 3, shift: -2 } },
  ],
});

/** x * scale + shift: what arithmetic with numbers becomes, without a tensor for the number. */
export function affine(x: Tensor, scale: number, shift: number): Tensor {
  return call1(op, [x], { scale, shift });
}

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { sameType } from './rules.js';

export interface AffineAttrs {
  readonly scale: number;
  readonly shift: number;
}

const op = defineOp<AffineAttrs>({
  name: 'affine',
  infer: sameType('affine'),
  expr: E.add(E.mul(E.input(0), E.attr('scale')), E.attr('shift')),
  vjp: { back: ([g], _, { scale }) => [() => affine(g as Tensor, scale, 0)] },
  samples: () => [{ inputs: [{ shape: [3, 5] }], attrs: { scale: -1.5, shift: 0.25 } }],
});

/** x * scale + shift: what arithmetic with numbers becomes, without a tensor for the number. */
export function affine(x: Tensor, scale: number, shift: number): Tensor {
  return call1(op, [x], { scale, shift });
}

import { call1 } from '../dispatch.js';
import { E } from '../expr.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { sameType } from './rules.js';

interface ClampAttrs {
  readonly min: number;
  readonly max: number;
}

const [min, max] = [E.attr('min'), E.attr('max')];

const backward = defineOp<ClampAttrs>({
  name: 'clampBackward',
  infer: sameType('clampBackward'),
  expr: E.select(E.mul(E.lessEqual(min, E.input(1)), E.lessEqual(E.input(1), max)), E.input(0), 0),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [4, 5] }, { shape: [4, 5] }], attrs: { min: -0.5, max: 1 } }],
});

const op = defineOp<ClampAttrs>({
  name: 'clamp',
  infer: sameType('clamp'),
  expr: E.minimum(E.maximum(E.input(0), min), max),
  vjp: { saves: ([x]) => [x], back: ([g], [x], attrs) => [() => call1(backward, [g, x], attrs)] },
  samples: () => [
    { inputs: [{ shape: [4, 5] }], attrs: { min: -0.5, max: 1 } },
    { inputs: [{ shape: [4, 5] }], attrs: { min: 0.25, max: Number.POSITIVE_INFINITY } },
  ],
});

/** x limited to `min` and `max`; the gradient flows where x lies between them or on them. */
export function clamp(x: Tensor, bounds: { readonly min?: number; readonly max?: number }): Tensor {
  return call1(op, [x], { min: bounds.min ?? Number.NEGATIVE_INFINITY, max: bounds.max ?? Number.POSITIVE_INFINITY });
}

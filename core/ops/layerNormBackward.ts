import type { Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp, type Operand, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { affine } from './affine.js';
import { cast } from './cast.js';
import { expectShape, floatOf, leading, NO_SECOND, widen } from './fused.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';
import { need } from './rules.js';
import { sub } from './sub.js';
import { sum } from './sum.js';

const NAME = 'layerNormBackward';

/** dx like x, then `parameters` gradients of the width of x. */
export function normBackwardSpecs(name: string, inputs: readonly SpecOrNull[], parameters: number): Spec[] {
  const [dy, x, mean, rstd] = [0, 1, 2, 3].map((i) => need(name, inputs, i));
  expectShape(name, 'dy', dy, x.shape);
  expectShape(name, 'the mean', mean, x.shape.slice(0, -1));
  expectShape(name, 'rstd', rstd, x.shape.slice(0, -1));
  const width = x.shape.slice(-1);
  for (const s of inputs.slice(4)) expectShape(name, 'a weight', s, width);
  const dtype = floatOf(name, [dy, x, ...inputs.slice(4)]);
  return [{ shape: x.shape, dtype }, ...Array.from({ length: parameters }, () => ({ shape: width, dtype }))];
}

const op = defineOp({
  name: NAME,
  infer: (inputs) => normBackwardSpecs(NAME, inputs, 2),
  decompose(inputs) {
    const [dy, x, mean, rstd, weight] = inputs.map(widen) as [Tensor, Tensor, Tensor, Tensor, Operand];
    const axis = x.rank - 1;
    const column = [...x.shape.slice(0, -1), 1];
    const deviation = reshape(rstd, column);
    const normal = mul(sub(x, reshape(mean, column)), deviation);
    const g = weight ? mul(dy, weight) : dy;
    const average = (t: Tensor) => affine(sum(t, axis, true), 1 / x.shape[axis], 0);
    // dx = rstd * (g - mean(g) - normal * mean(g * normal))
    const dx = mul(deviation, sub(sub(g, average(g)), mul(normal, average(mul(g, normal)))));
    const dw = sum(mul(dy, normal), leading(axis));
    const db = sum(dy, leading(axis));
    const dtype = floatOf(NAME, [inputs[0], inputs[1], inputs[4]]);
    return [dx, dw, db].map((t) => cast(t, dtype));
  },
  nonDifferentiable: NO_SECOND,
  cost: ([x]) => 14 * sizeOf(x?.shape ?? [0]),
  samples: () => [
    {
      inputs: [
        { shape: [2, 3, 13] },
        { shape: [2, 3, 13] },
        { shape: [2, 3] },
        { shape: [2, 3], low: 0.5 },
        { shape: [13] },
      ],
      attrs: {},
    },
    { inputs: [{ shape: [4, 8] }, { shape: [4, 8] }, { shape: [4] }, { shape: [4], low: 0.5 }, null], attrs: {} },
  ],
});

/** Gradients of layerNorm: dx like x, dw [D], db [D]. */
export function layerNormBackward(dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Operand): Tensor[] {
  return call(op, [dy, x, mean, rstd, weight], {});
}

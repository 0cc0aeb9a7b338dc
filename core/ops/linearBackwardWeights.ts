import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { sameShape, sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { floatOf, NO_SECOND, rows, transposed, widen } from './fused.js';
import { matmul } from './matmul.js';
import { formatSpec, need } from './rules.js';
import { sum } from './sum.js';

export interface WeightsAttrs {
  /** Whether there is a bias. */
  readonly bias: boolean;
}

const op = defineOp<WeightsAttrs>({
  name: 'linearBackwardWeights',
  infer(inputs, { bias }) {
    const dz = need('linearBackwardWeights', inputs, 0);
    const x = need('linearBackwardWeights', inputs, 1);
    if (dz.shape.length === 0 || !sameShape(dz.shape.slice(0, -1), x.shape.slice(0, -1))) {
      throw new OpError(
        'linearBackwardWeights',
        `expected dz [..., N] and x [..., K], got ${formatSpec(dz)} and ${formatSpec(x)}`,
      );
    }
    const dtype = floatOf('linearBackwardWeights', inputs);
    const n = dz.shape[dz.shape.length - 1];
    const dw = { shape: [n, x.shape[x.shape.length - 1]], dtype };
    return bias ? [dw, { shape: [n], dtype }] : [dw];
  },
  decompose(inputs, { bias }) {
    const dtype = floatOf('linearBackwardWeights', inputs);
    const [dz, x] = inputs.map((t) => rows(widen(t as Tensor)));
    const dw = cast(matmul(transposed(dz), x), dtype);
    return bias ? [dw, cast(sum(dz, 0), dtype)] : [dw];
  },
  nonDifferentiable: NO_SECOND,
  cost: ([dz, x]) => 2 * sizeOf(dz?.shape ?? [0]) * (x?.shape.at(-1) ?? 0),
  samples: () => [
    { inputs: [{ shape: [5, 3] }, { shape: [5, 7] }], attrs: { bias: false } },
    { inputs: [{ shape: [2, 5, 9] }, { shape: [2, 5, 12] }], attrs: { bias: true } },
  ],
});

/** Gradients of the weight and the bias of linear, from dz [..., N] and x [..., K]: dw [N, K] and, with `bias`, db [N]. */
export function linearBackwardWeights(dz: Tensor, x: Tensor, bias: boolean): Tensor[] {
  return call(op, [dz, x], { bias });
}

import { call1 } from '../dispatch.js';
import type { DType } from '../dtype.js';
import { defineOp } from '../op.js';
import { empty, type Tensor } from '../tensor.js';
import { need } from './rules.js';

const op = defineOp<{ readonly dtype: DType }>({
  name: 'cast',
  moves: true,
  infer: (inputs, { dtype }) => [{ shape: need('cast', inputs, 0).shape, dtype }],
  decompose([x], { dtype }) {
    const t = x as Tensor;
    const out = empty(t.shape, dtype, t.backend);
    t.backend.copy(t.view(), out.view());
    return [out];
  },
  // Autograd casts gradients back.
  vjp: { back: ([g]) => [() => g as Tensor] },
  samples: () => [
    ...(['float16', 'bfloat16', 'float32', 'int32', 'bool'] as const).map((dtype) => ({
      inputs: [{ shape: [3, 4] }],
      attrs: { dtype },
    })),
    { inputs: [{ shape: [3, 5], low: 0, high: 200 }], attrs: { dtype: 'uint8' as const } },
  ],
});

/** The same values as another dtype; floats become integers by truncation, bool by being non-zero. */
export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : call1(op, [x], { dtype }));

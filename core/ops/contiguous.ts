import { call1 } from '../dispatch.js';
import { isContiguous } from '../layout.js';
import { defineOp } from '../op.js';
import { empty, type Tensor } from '../tensor.js';
import { need } from './rules.js';

const op = defineOp({
  name: 'contiguous',
  moves: true,
  infer: (inputs) => [need('contiguous', inputs, 0)],
  decompose([x]) {
    const t = x as Tensor;
    const out = empty(t.shape, t.dtype, t.backend);
    t.backend.copy(t.view(), out.view());
    return [out];
  },
  vjp: { back: ([g]) => [() => g as Tensor] },
  samples: () => [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});

/** The tensor itself when its elements lie in row-major order, else a copy that does. */
export const contiguous = (x: Tensor): Tensor => (isContiguous(x) ? x : call1(op, [x], {}));

/** A copy with storage of its own, through which gradients flow. */
export const clone = (x: Tensor): Tensor => call1(op, [x], {});

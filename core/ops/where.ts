import { call1 } from '../dispatch.js';
import { promote } from '../dtype.js';
import { E } from '../expr.js';
import { broadcastShapes } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { full, scalarLike } from './fill.js';
import { maskedFill } from './maskedFill.js';
import { need, sameType } from './rules.js';

const masked = defineOp({
  name: 'whereBackward',
  infer: ([g, mask]) => [
    { shape: sameType('whereBackward')([g, mask])[0].shape, dtype: need('whereBackward', [g], 0).dtype },
  ],
  expr: E.select(E.input(1), E.input(0), 0),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [3, 4] }, { shape: [4], dtype: 'bool' }], attrs: {} }],
});

const op = defineOp({
  name: 'where',
  infer(inputs) {
    const [test, yes, no] = [0, 1, 2].map((i) => need('where', inputs, i));
    return [{ shape: broadcastShapes('where', test.shape, yes.shape, no.shape), dtype: promote(yes.dtype, no.dtype) }];
  },
  expr: E.select(E.input(0), E.input(1), E.input(2)),
  vjp: {
    saves: ([test]) => [test],
    back: ([g], [test]) => [null, () => call1(masked, [g, test], {}), () => maskedFill(g as Tensor, test as Tensor, 0)],
  },
  samples: () => [
    { inputs: [{ shape: [4, 4], dtype: 'bool' }, { shape: [4, 4] }, { shape: [4, 4] }], attrs: {} },
    { inputs: [{ shape: [3, 1], dtype: 'bool' }, { shape: [4] }, { shape: [] }], attrs: {} },
  ],
});

/** a where `test` is not 0, else b, with broadcasting of all three. */
export function where(test: Tensor, a: Tensor | number, b: Tensor | number): Tensor {
  if (typeof a !== 'number') {
    return typeof b === 'number' ? scalarLike(a, b, (s) => call1(op, [test, a, s], {})) : call1(op, [test, a, b], {});
  }
  if (typeof b !== 'number') return scalarLike(b, a, (s) => call1(op, [test, s, b], {}));
  return scope(() =>
    call1(op, [test, full([], a, { backend: test.backend }), full([], b, { backend: test.backend })], {}),
  );
}

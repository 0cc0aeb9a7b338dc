import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { normalizeAxis } from '../layout.js';
import { defineOp, type Flat, type OpDefinition } from '../op.js';
import type { Tensor } from '../tensor.js';
import { need } from './rules.js';
import { around, forEachLine } from './walk.js';

interface CumulativeAttrs {
  readonly axis: number;
  /** Sums from the end instead. */
  readonly reverse: boolean;
}

const op: OpDefinition<CumulativeAttrs> = defineOp<CumulativeAttrs>({
  name: 'cumsum',
  infer(inputs) {
    const { shape, dtype } = need('cumsum', inputs, 0);
    return [{ shape, dtype: isFloat(dtype) ? dtype : 'int32' }];
  },
  reference([input], [y], { axis, reverse }) {
    const x = input as Flat;
    const { length, inner } = around(x.shape, axis);
    forEachLine(x.shape, axis, (first) => {
      let total = 0;
      for (let i = 0; i < length; i++) {
        const at = first + (reverse ? length - 1 - i : i) * inner;
        total += x.values[at];
        y.values[at] = total;
      }
    });
  },
  vjp: { back: ([g], _, { axis, reverse }) => [() => call1(op, [g], { axis, reverse: !reverse })] },
  samples: () => [
    { inputs: [{ shape: [3, 7] }], attrs: { axis: 1, reverse: false } },
    { inputs: [{ shape: [3, 4, 2] }], attrs: { axis: 0, reverse: true } },
  ],
});

/** Running sum along `axis`. */
export const cumsum = (x: Tensor, axis: number): Tensor =>
  call1(op, [x], { axis: normalizeAxis('cumsum', axis, x.rank), reverse: false });

/** Linear layers with two sets of weights: rows before the split use A, the others B, in one product. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';
import { computes, rowsOf, transposedWeight } from './linear.js';

interface Attrs {
  readonly split: number;
  readonly activation: 'none' | 'gelu';
}

export function multiwayLinear(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [x, wA, bA, wB, bB, residual] = inputs as [View, View, View | null, View, View | null, View | null];
      const { split, activation } = attrs as Attrs;
      const fits = wA.dtype === wB.dtype && bA?.dtype === bB?.dtype;
      if (!fits || !computes(rt, [...inputs, ...outputs])) return null;
      const [batches, all, depth] = x.shape;
      return ([y, slope]) => {
        multiply(rt, {
          ...{ rows: batches * all, columns: wA.shape[0], depth, batch: [] },
          ...{ a: rowsOf(x), b: transposedWeight(wA), second: wB },
          split: { along: 'rows', before: split, all },
          ...{ y, bias: bA, biasSecond: bB, gelu: activation === 'gelu', slope, residual },
        });
      };
    },
  };
}

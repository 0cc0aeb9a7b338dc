/** The gradient of multiwayLinear's input: dz times the weight of its row's part, in one product. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';
import { computes, rowsOf } from './linear.js';

export function multiwayLinearBackwardInput(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dz, wA, wB] = inputs as [View, View, View];
      const { split } = attrs as { readonly split: number };
      if (wA.dtype !== wB.dtype || !computes(rt, [...inputs, ...outputs])) return null;
      const [batches, all, depth] = dz.shape;
      const columns = wA.shape[1];
      return ([y]) => {
        const b = { view: wA, outer: 1, step: columns, batch: [] };
        const sizes = { rows: batches * all, columns, depth, batch: [] };
        multiply(rt, { ...sizes, a: rowsOf(dz), b, second: wB, split: { along: 'rows', before: split, all }, y });
      };
    },
  };
}

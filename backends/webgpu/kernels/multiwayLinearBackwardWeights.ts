/** The gradients of multiwayLinear's weights and biases: the rows of each part are the depth of a product. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';
import { computes } from './linear.js';
import { featuresOf } from './linearBackwardWeights.js';

export function multiwayLinearBackwardWeights(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dz, x] = inputs as [View, View];
      const { split, bias } = attrs as { readonly split: number; readonly bias: boolean };
      if (!computes(rt, [...inputs, ...outputs])) return null;
      const [batches, all, rows] = dz.shape;
      const columns = x.shape[2];
      if (bias && columns === 0) return null;
      return ([y, ySecond, sums, sumsSecond]) => {
        multiply(rt, {
          ...{ rows, columns, depth: batches * all, batch: [] },
          ...{ a: featuresOf(dz), b: featuresOf(x) },
          split: { along: 'depth', before: split, all },
          ...{ y, ySecond, sums, sumsSecond },
        });
      };
    },
  };
}

/** Gradients of a linear layer's weight and bias: dw = dz^T x, and the sums of dz beside it. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';
import { computes } from './linear.js';

/** The features of x [..., K] as rows of A or columns of B; its rows are the depth. */
export const featuresOf = (x: View) => ({ view: x, outer: 1, step: x.shape[x.shape.length - 1], batch: [] });

export function linearBackwardWeights(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dz, x] = inputs as [View, View];
      if (!computes(rt, [...inputs, ...outputs])) return null;
      const { bias } = attrs as { readonly bias: boolean };
      const rows = dz.shape[dz.shape.length - 1];
      const columns = x.shape[x.shape.length - 1];
      // The sums come with the tiles of the first columns: there must be some.
      if (bias && columns === 0) return null;
      const depth = sizeOf(x.shape.slice(0, -1));
      return ([y, sums]) => {
        const [a, b] = [featuresOf(dz), featuresOf(x)];
        multiply(rt, { rows, columns, depth, batch: [], a, b, y, sums });
      };
    },
  };
}

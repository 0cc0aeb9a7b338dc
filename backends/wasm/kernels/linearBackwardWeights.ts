/** Gradients of a linear layer's weight and bias. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiplyTransposed } from '../gemm/transposed.js';
import type { Runtime } from '../runtime.js';
import { allFloat, count } from './views.js';

export function linearBackwardWeights(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dz, x] = inputs as [View, View];
      if (!allFloat(inputs, outputs)) return null;
      const n = dz.shape[dz.shape.length - 1];
      const k = x.shape[x.shape.length - 1];
      const rows = count(x.shape.slice(0, -1));
      if (rows === 0) return null;
      const { bias } = attrs as { readonly bias: boolean };
      return ([dw, db]) => {
        const [left, right] = [dz, x].map((v) => ({ addresses: [rt.address(v)], length: rows }));
        multiplyTransposed(
          rt,
          { ...left, row: n, width: n },
          { ...right, row: k, width: k },
          rt.address(dw),
          bias ? rt.address(db) : 0,
        );
      };
    },
  };
}

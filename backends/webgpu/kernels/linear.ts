/** y = act(x w^T + bias) + residual in one product whose store does the rest. */
import type { Kernel, Spec, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';

interface LinearAttrs {
  readonly activation: 'none' | 'gelu';
}

/** Whether all are of float dtypes that the GPU computes. */
export const computes = ({ facts }: Runtime, specs: readonly (Spec | null)[]): boolean =>
  specs.every((s) => s === null || s.dtype === 'float32' || (s.dtype === 'float16' && facts.half));

/** The rows of x [..., K]. */
export const rowsOf = (x: View) => ({ view: x, outer: x.shape[x.shape.length - 1], step: 1, batch: [] });
/** The columns of w^T for a weight [N, K]. */
export const transposedWeight = (w: View) => ({ view: w, outer: w.shape[1], step: 1, batch: [] });

export function linear(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const { activation } = attrs as LinearAttrs;
      const [x, w, bias, residual] = inputs as [View, View, View | null, View | null];
      if (!computes(rt, [...inputs, ...outputs])) return null;
      const [columns, depth] = w.shape;
      const rows = sizeOf(x.shape.slice(0, -1));
      return ([y, slope]) => {
        const [a, b] = [rowsOf(x), transposedWeight(w)];
        multiply(rt, {
          ...{ rows, columns, depth, batch: [], a, b },
          ...{ y, bias, gelu: activation === 'gelu', slope, residual },
        });
      };
    },
  };
}

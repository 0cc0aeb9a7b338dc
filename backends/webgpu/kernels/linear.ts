/** y = act(x w^T + bias) + residual in one product whose store does the rest. */
import type { Kernel, Spec, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { sizeOf } from '../../../core/layout.js';
import type { LinearAttrs } from '../../../core/ops/linear.js';
import { copy } from '../copy.js';
import { multiply } from '../gemm/index.js';
import type { GpuBlock } from '../memory.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';

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
      const run = (b: View, bias: View | null, outputs: readonly View[], residual: View | null) =>
        multiply(rt, {
          ...{ rows, columns: b.shape[0], depth, batch: [], a: rowsOf(x), b: transposedWeight(b) },
          ...{ y: outputs[0], bias, gelu: activation === 'gelu', slope: outputs[1], residual },
        });
      if ((w.block as GpuBlock).room <= rt.mostBound) return (results) => run(w, bias, results, residual);
      // The word table of a GPU that binds little: some columns of the result at a time.
      const most = Math.floor((rt.mostBound - 256) / (depth * bytesOf(w.dtype)));
      if (most === 0) return null;
      return (results) => {
        for (let first = 0; first < columns; first += most) {
          const count = Math.min(most, columns - first);
          const part = { ...w, shape: [count, depth], offset: w.offset + first * depth };
          const wide = (t: View): View => ({
            ...t,
            shape: [rows, count],
            strides: [columns, 1],
            offset: t.offset + first,
          });
          const specs = [...results, ...(residual ? [residual] : [])].map(({ dtype }) => ({
            dtype,
            shape: [rows, count],
          }));
          withScratch(rt, specs, (...scratch) => {
            const outputs = scratch.slice(0, results.length);
            const added = residual && scratch[results.length];
            if (residual && added) copy(rt, wide(residual), added);
            run(part, bias && { ...bias, shape: [count], offset: bias.offset + first }, outputs, added);
            outputs.forEach((t, i) => {
              copy(rt, t, wide(results[i]));
            });
          });
        }
      };
    },
  };
}

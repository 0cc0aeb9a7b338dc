/** y = act(x w^T + bias) + residual in one product whose store does the rest. */
import type { Kernel, View } from '../../../core/backend.js';
import type { LinearAttrs } from '../../../core/ops/linear.js';
import type { Epilogue } from '../gemm/epilogue.js';
import { multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';
import { allFloat } from './views.js';

export function linear(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const { activation, keep } = attrs as LinearAttrs;
      const [x, w, bias, residual] = inputs as [View, View, View | null, View | null];
      if (!allFloat(inputs, outputs)) return null;
      const [columns, depth] = w.shape;
      if (depth === 0) return null;
      const rows = x.shape.slice(0, -1).reduce((a, b) => a * b, 1);
      const epilogue: Epilogue = {
        bias: bias !== null,
        gelu: activation === 'gelu',
        keep: keep && activation === 'gelu',
        residual: residual !== null,
      };
      return ([y, z]) => {
        multiply(rt, {
          batches: 1,
          rows,
          columns,
          depth,
          a: { addresses: [rt.address(x)], row: depth, column: 1 },
          b: { addresses: [rt.address(w)], row: 1, column: depth },
          c: { address: rt.address(y), row: columns, batch: 0 },
          epilogue,
          bias: bias ? rt.address(bias) : undefined,
          kept: z ? rt.address(z) : undefined,
          residual: residual ? rt.address(residual) : undefined,
        });
      };
    },
  };
}

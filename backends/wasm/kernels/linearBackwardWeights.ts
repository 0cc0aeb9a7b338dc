/** Gradients of a linear layer's weight and bias. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import { sumMiddle } from '../reduce.js';
import type { Runtime } from '../runtime.js';
import { allFloat, count } from './views.js';

/** dw [n, k] = dz^T x and db [n] = sum of dz over its rows (where db is not 0), for dz [rows, n] and x [rows, k]. */
export function weightGradients(
  rt: Runtime,
  dz: number,
  x: number,
  rows: number,
  n: number,
  k: number,
  dw: number,
  db: number,
): void {
  multiply(rt, {
    batches: 1,
    rows: n,
    columns: k,
    depth: rows,
    a: { addresses: [dz], row: 1, column: n },
    b: { addresses: [x], row: k, column: 1 },
    c: { address: dw, row: k, batch: 0 },
  });
  if (db !== 0) sumMiddle(rt, dz, 1, rows, n, db);
}

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
        weightGradients(rt, rt.address(dz), rt.address(x), rows, n, k, rt.address(dw), bias ? rt.address(db) : 0);
      };
    },
  };
}

/** Batched product of any strides. */
import type { Kernel, View } from '../../../core/backend.js';
import { broadcastStrides } from '../../../core/layout.js';
import { type Matrix, multiply } from '../gemm/index.js';
import type { Runtime } from '../runtime.js';
import { allFloat, count } from './views.js';

export function matmul(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, _, [output]) {
      const [a, b] = inputs as [View, View];
      if (!allFloat(inputs, [output])) return null;
      const batchShape = output.shape.slice(0, -2);
      const [rows, columns] = output.shape.slice(-2);
      const depth = a.shape[a.shape.length - 1];
      if (depth === 0) return null;
      return ([c]) => {
        const left = matrixOf(rt, a, batchShape);
        const right = matrixOf(rt, b, batchShape);
        const batches = count(batchShape);
        const folded = right.addresses.length === 1 ? foldBatch(a, output.shape) : null;
        if (folded !== null) {
          // One B for all: the batch is only more rows of A.
          const all = batches * rows;
          multiply(rt, {
            batches: 1,
            rows: all,
            columns,
            depth,
            a: { addresses: [rt.address(a)], row: folded, column: left.column },
            b: right,
            c: { address: rt.address(c), row: columns, batch: 0 },
          });
          return;
        }
        multiply(rt, {
          batches,
          rows,
          columns,
          depth,
          a: left,
          b: right,
          c: { address: rt.address(c), row: columns, batch: rows * columns },
        });
      };
    },
  };
}

/** The matrix in the last two axes, with the addresses of all batch elements. */
function matrixOf(rt: Runtime, x: View, batchShape: readonly number[]): Matrix {
  const rank = x.shape.length;
  const [row, column] = x.strides.slice(-2);
  const shape = x.shape.slice(0, -2);
  const strides = broadcastStrides({ shape, strides: x.strides.slice(0, rank - 2), offset: 0 }, batchShape);
  let offsets = [0];
  if (strides.some((s, i) => s !== 0 && batchShape[i] !== 1)) {
    batchShape.forEach((d, axis) => {
      offsets = offsets.flatMap((o) => Array.from({ length: d }, (_, i) => o + i * strides[axis]));
    });
  }
  const start = rt.address(x);
  return { addresses: offsets.map((o) => start + 4 * o), row, column };
}

/** The row stride under which the batch axes of A, which are all of the result's, and its rows are one axis, or null. */
function foldBatch(a: View, shape: readonly number[]): number | null {
  const rank = shape.length;
  if (a.shape.length !== rank || rank < 3 || a.shape.some((d, i) => i < rank - 2 && d !== shape[i])) return null;
  let axis = rank - 2;
  while (axis > 0 && a.shape[axis] === 1) axis--;
  const row = a.strides[axis];
  let step = row * a.shape[axis];
  for (let i = axis - 1; i >= 0; i--) {
    if (a.shape[i] === 1) continue;
    if (a.strides[i] !== step) return null;
    step *= a.shape[i];
  }
  return row;
}

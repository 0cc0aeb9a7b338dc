/** Linear layers with two sets of weights: rows before the split use A, the others B, in one result. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import { multiplyTransposed } from '../gemm/transposed.js';
import type { Runtime } from '../runtime.js';
import { allFloat } from './views.js';

interface Attrs {
  readonly split: number;
  readonly activation: 'none' | 'gelu';
  readonly keep: boolean;
}

/** Rows start to start + length - 1 of every batch element. */
const segments = (all: number, split: number) => [
  { start: 0, length: split },
  { start: split, length: all - split },
];

export function multiwayLinear(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [x, wA, bA, wB, bB, residual] = inputs as [View, View, View | null, View, View | null, View | null];
      const { split, activation, keep } = attrs as Attrs;
      if (!allFloat(inputs, outputs)) return null;
      const [batches, all, depth] = x.shape;
      const columns = wA.shape[0];
      if (depth === 0) return null;
      return ([y, z]) => {
        segments(all, split).forEach(({ start, length }, i) => {
          const [w, bias] = i === 0 ? [wA, bA] : [wB, bB];
          const skip = 4 * start * columns;
          multiply(rt, {
            batches,
            rows: length,
            columns,
            depth,
            a: { addresses: batchAddresses(rt, x, start), row: depth, column: 1 },
            b: { addresses: [rt.address(w)], row: 1, column: depth },
            c: { address: rt.address(y) + skip, row: columns, batch: all * columns },
            epilogue: {
              bias: bias !== null,
              gelu: activation === 'gelu',
              keep: keep && activation === 'gelu',
              residual: residual !== null,
            },
            bias: bias ? rt.address(bias) : undefined,
            kept: z ? rt.address(z) + skip : undefined,
            residual: residual ? rt.address(residual) + skip : undefined,
          });
        });
      };
    },
  };
}

/** Address of row `start` in every batch element of x [B, L, D]. */
function batchAddresses(rt: Runtime, x: View, start: number): number[] {
  const [batches, all, width] = x.shape;
  return Array.from({ length: batches }, (_, b) => rt.address(x) + 4 * (b * all + start) * width);
}

export function multiwayLinearBackwardInput(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dz, wA, wB] = inputs as [View, View, View];
      const { split } = attrs as Attrs;
      if (!allFloat(inputs, outputs)) return null;
      const [batches, all, depth] = dz.shape;
      const columns = wA.shape[1];
      if (depth === 0) return null;
      return ([dx]) => {
        segments(all, split).forEach(({ start, length }, i) => {
          multiply(rt, {
            batches,
            rows: length,
            columns,
            depth,
            a: { addresses: batchAddresses(rt, dz, start), row: depth, column: 1 },
            b: { addresses: [rt.address(i === 0 ? wA : wB)], row: columns, column: 1 },
            c: { address: rt.address(dx) + 4 * start * columns, row: columns, batch: all * columns },
          });
        });
      };
    },
  };
}

export function multiwayLinearBackwardWeights(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dz, x] = inputs as [View, View];
      const { split, bias } = attrs as { readonly split: number; readonly bias: boolean };
      if (!allFloat(inputs, outputs)) return null;
      const [batches, all, n] = dz.shape;
      const k = x.shape[2];
      if (batches * n * k === 0) return null;
      return ([dwA, dwB, dbA, dbB]) => {
        segments(all, split).forEach(({ start, length }, i) => {
          const dw = i === 0 ? dwA : dwB;
          const db = bias ? (i === 0 ? dbA : dbB) : null;
          const [left, right] = [dz, x].map((v) => {
            const width = v.shape[2];
            return { addresses: batchAddresses(rt, v, start), length, row: width, width };
          });
          multiplyTransposed(rt, left, right, rt.address(dw), rt.addressOf(db));
        });
      };
    },
  };
}

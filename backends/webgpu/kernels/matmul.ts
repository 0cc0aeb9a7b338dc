/** Batched product of any strides. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import { multiplySimply } from '../gemm/simple.js';
import type { Runtime } from '../runtime.js';
import { collapse } from '../wgsl/indexing.js';
import { computes } from './linear.js';

const batchOf = ({ shape, strides }: View) => ({ shape: shape.slice(0, -2), strides: strides.slice(0, -2), offset: 0 });

export function matmul(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, _, outputs) {
      const [a, b] = inputs as [View, View];
      if (!computes(rt, [...inputs, ...outputs])) return ([y]) => multiplySimply(rt, a, b, y);
      return ([y]) => {
        const space = collapse(y.shape.slice(0, -2), [batchOf(a), batchOf(b)]);
        const [rows, columns] = y.shape.slice(-2);
        const [aOuter, aStep] = a.strides.slice(-2);
        const [bStep, bOuter] = b.strides.slice(-2);
        const depth = a.shape[a.shape.length - 1];
        const [left, right] = [
          { view: a, outer: aOuter, step: aStep, batch: space.strides[0] },
          { view: b, outer: bOuter, step: bStep, batch: space.strides[1] },
        ];
        // One B for a batch that is evenly spaced in A: the batch is only more rows.
        const [outer] = rows === 1 ? left.batch : [aOuter];
        const folds = space.shape.length === 1 && right.batch[0] === 0 && left.batch[0] === rows * outer;
        if (folds) {
          const all = rows * space.shape[0];
          multiply(rt, {
            rows: all,
            columns,
            depth,
            batch: [],
            a: { ...left, outer, batch: [] },
            b: { ...right, batch: [] },
            y,
          });
        } else multiply(rt, { rows, columns, depth, batch: space.shape, a: left, b: right, y });
      };
    },
  };
}

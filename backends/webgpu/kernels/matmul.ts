/** Batched product of any strides. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiply } from '../gemm/index.js';
import type { Product } from '../gemm/product.js';
import { multiplySimply } from '../gemm/simple.js';
import type { Runtime } from '../runtime.js';
import { collapse } from '../wgsl/indexing.js';
import { computes } from './linear.js';

const batchOf = ({ shape, strides }: View) => ({ shape: shape.slice(0, -2), strides: strides.slice(0, -2), offset: 0 });

/** Results, and steps of the depth, of matrices so small that tiles of them would be mostly empty. */
const TINY = 64;

export function matmul(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, _, outputs) {
      const [a, b] = inputs as [View, View];
      const [rows, columns] = outputs[0].shape.slice(-2);
      const tiny = rows * columns <= TINY && a.shape[a.shape.length - 1] <= TINY;
      if (tiny || !computes(rt, [...inputs, ...outputs])) return ([y]) => multiplySimply(rt, a, b, y);
      return ([y]) => multiply(rt, productOf(a, b, y));
    },
  };
}

function productOf(a: View, b: View, y: View): Product {
  const space = collapse(y.shape.slice(0, -2), [batchOf(a), batchOf(b)]);
  const batch = space.shape;
  const [rows, columns] = y.shape.slice(-2);
  const [aOuter, aStep] = a.strides.slice(-2);
  const [bStep, bOuter] = b.strides.slice(-2);
  const depth = a.shape[a.shape.length - 1];
  const left = { view: a, outer: aOuter, step: aStep, batch: space.strides[0] };
  const right = { view: b, outer: bOuter, step: bStep, batch: space.strides[1] };
  // A column is a row of the transposed product, and there are kernels for few rows.
  if (columns === 1) return { rows: 1, columns: rows, depth, batch, a: right, b: left, y };
  // One B for a batch that is evenly spaced in A: the batch is only more rows.
  const outer = rows === 1 ? left.batch[0] : aOuter;
  if (batch.length === 1 && right.batch[0] === 0 && left.batch[0] === rows * outer) {
    const [all, alone] = [rows * batch[0], { view: b, outer: bOuter, step: bStep, batch: [] }];
    return { rows: all, columns, depth, batch: [], a: { ...left, outer, batch: [] }, b: alone, y };
  }
  return { rows, columns, depth, batch, a: left, b: right, y };
}

import { call1 } from '../dispatch.js';
import { promote } from '../dtype.js';
import { OpError } from '../errors.js';
import { broadcastShapes, contiguousStrides, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { transpose } from './permute.js';
import { reshape, unsqueeze } from './reshape.js';
import { formatSpec, need } from './rules.js';
import { walk } from './walk.js';

/** Steps, in matrices, of the batch axes of one operand inside the joint batch. */
function batchSteps(own: readonly number[], batch: readonly number[]): number[] {
  const strides = contiguousStrides(own);
  const lead = batch.length - own.length;
  return batch.map((_, i) => (i < lead || own[i - lead] === 1 ? 0 : strides[i - lead]));
}

/** y += a b for matrices [m, k] and [k, n] that lie at offsets. */
function multiply(y: Float64Array, a: Float64Array, b: Float64Array, m: number, k: number, n: number): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < k; j++) {
      const factor = a[i * k + j];
      for (let c = 0; c < n; c++) y[i * n + c] += factor * b[j * n + c];
    }
  }
}

const op = defineOp({
  name: 'matmul',
  infer(inputs) {
    const [a, b] = [need('matmul', inputs, 0), need('matmul', inputs, 1)];
    if (a.shape.length < 2 || b.shape.length < 2 || a.shape.at(-1) !== b.shape.at(-2)) {
      throw new OpError('matmul', `expected [..., M, K] and [..., K, N], got ${formatSpec(a)} and ${formatSpec(b)}`);
    }
    const batch = broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [
      { shape: [...batch, a.shape.at(-2) as number, b.shape.at(-1) as number], dtype: promote(a.dtype, b.dtype) },
    ];
  },
  reference([left, right], [y]) {
    const [a, b] = [left as Flat, right as Flat];
    const [m, k] = a.shape.slice(-2);
    const n = y.shape[y.shape.length - 1];
    const batch = y.shape.slice(0, -2);
    const starts: number[] = [];
    walk(batch, batchSteps(a.shape.slice(0, -2), batch), (_, at) => starts.push(at));
    walk(batch, batchSteps(b.shape.slice(0, -2), batch), (i, at) => {
      multiply(
        y.values.subarray(i * m * n, (i + 1) * m * n),
        a.values.subarray(starts[i] * m * k, (starts[i] + 1) * m * k),
        b.values.subarray(at * k * n, (at + 1) * k * n),
        m,
        k,
        n,
      );
    });
  },
  vjp: {
    saves: (inputs) => inputs,
    back: ([g], [a, b]) => [
      () => matmul(g as Tensor, transpose(b as Tensor)),
      () => matmul(transpose(a as Tensor), g as Tensor),
    ],
  },
  cost: ([a, b]) => (a && b ? 2 * sizeOf(a.shape) * (b.shape.at(-1) ?? 1) : 0),
  samples: () => [
    { inputs: [{ shape: [5, 7] }, { shape: [7, 4] }], attrs: {} },
    { inputs: [{ shape: [2, 3, 5, 7] }, { shape: [2, 3, 7, 4] }], attrs: {} },
    { inputs: [{ shape: [2, 1, 5, 7] }, { shape: [3, 7, 4] }], attrs: {} },
    { inputs: [{ shape: [1, 13, 2] }, { shape: [6, 2, 5] }], attrs: {} },
  ],
});

/** Matrix product of [..., M, K] and [..., K, N] with broadcast batch axes; a vector acts as a row on the left and as a
 * column on the right, and its axis goes. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  if (a.rank === 0 || b.rank === 0) throw new OpError('matmul', `expected vectors or matrices, got ${a} and ${b}`);
  if (a.rank > 1 && b.rank > 1 && (b.rank > 2 || a.rank === 2)) return call1(op, [a, b], {});
  return scope(() => {
    if (a.rank === 1) {
      const y = matmul(unsqueeze(a, 0), b.rank === 1 ? unsqueeze(b, 1) : b);
      return reshape(y, b.rank === 1 ? [] : y.shape.toSpliced(-2, 1));
    }
    if (b.rank === 1) {
      const y = matmul(a, unsqueeze(b, 1));
      return reshape(y, y.shape.slice(0, -1));
    }
    // One matrix for all: one large product, and its gradient needs no sum over the batch.
    const inner = a.shape[a.rank - 1];
    const rows = sizeOf(a.shape.slice(0, -1));
    return reshape(call1(op, [reshape(a, [rows, inner]), b], {}), [...a.shape.slice(0, -1), b.shape[1]]);
  });
}

/** Every product of an element of vector a [M] with one of vector b [N]: [M, N]. */
export function outer(a: Tensor, b: Tensor): Tensor {
  if (a.rank !== 1 || b.rank !== 1) throw new OpError('outer', `expected two vectors, got ${a} and ${b}`);
  return scope(() => call1(op, [unsqueeze(a, 1), unsqueeze(b, 0)], {}));
}

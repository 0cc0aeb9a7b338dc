/** Operands that need more than 65,535 workgroups, the most that one axis of a WebGPU grid has. */
import type { Attrs, Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { messageOf } from '../../core/errors.js';
import { sizeOf } from '../../core/layout.js';
import { scope } from '../../core/memory.js';
import type { OpDefinition, Sample } from '../../core/op.js';
import { transpose } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { withoutLeak } from '../support/values.js';

const ROWS = 66_001;
/** Sums over that many rows have rounding errors that grow with their root. */
export const SLACK = 256;

const rows = (...inner: readonly number[]) => ({ shape: [ROWS, ...inner] });
const integers = (high: number, ...inner: readonly number[]) => ({ ...rows(...inner), dtype: 'int32' as const, high });
const line = { axis: 1, keepDims: false };

/** Samples with a row, or a matrix, for each workgroup. */
export const LARGE: Readonly<Record<string, readonly Sample<Attrs>[]>> = {
  add: [{ inputs: [rows(3), { shape: [3] }], attrs: {} }],
  affine: [{ inputs: [rows(3)], attrs: { scale: -1.5, shift: 0.25 } }],
  argmax: [{ inputs: [rows(3)], attrs: line }],
  cat: [{ inputs: [rows(2), rows(3)], attrs: { axis: 1 } }],
  crossEntropy: [{ inputs: [rows(3), integers(3)], attrs: { smoothing: 0.1, ignoreIndex: 2 } }],
  cumsum: [{ inputs: [rows(3)], attrs: { axis: 1, reverse: false } }],
  fill: [{ inputs: [], attrs: { shape: [ROWS, 3], dtype: 'float32', value: 1.5 } }],
  gather: [{ inputs: [rows(3), integers(3, 2)], attrs: { axis: 1 } }],
  gatherRows: [{ inputs: [{ shape: [5, 3] }, integers(5)], attrs: {} }],
  globalNorm: [{ inputs: [rows(3), { shape: [4] }], attrs: {} }],
  iota: [{ inputs: [], attrs: { size: 3 * ROWS, start: -2, step: 3, dtype: 'int32' } }],
  layerNorm: [{ inputs: [rows(5), { shape: [5] }, { shape: [5] }], attrs: { eps: 1e-5 } }],
  linear: [
    {
      inputs: [rows(4), { shape: [3, 4] }, { shape: [3] }, null],
      attrs: { activation: 'none', keep: false },
    },
  ],
  logSoftmax: [{ inputs: [rows(3)], attrs: {} }],
  matmul: [{ inputs: [rows(2, 3), rows(3, 2)], attrs: {} }],
  max: [{ inputs: [rows(3)], attrs: line }],
  multiwayLayerNorm: [
    {
      inputs: [{ shape: [2, 33_001, 3] }, { shape: [3] }, { shape: [3] }, { shape: [3] }, { shape: [3] }],
      attrs: { split: 33_000, eps: 1e-5 },
    },
  ],
  multiwayLinear: [
    {
      inputs: [{ shape: [2, 33_001, 3] }, { shape: [2, 3] }, { shape: [2] }, { shape: [2, 3] }, { shape: [2] }, null],
      attrs: { split: 33_000, activation: 'none', keep: false },
    },
  ],
  pad: [{ inputs: [rows(2)], attrs: { shape: [ROWS + 2, 4], starts: [1, 0], steps: [1, 2] } }],
  prod: [{ inputs: [rows(3)], attrs: { axes: [1], keepDims: false } }],
  randomBits: [{ inputs: [], attrs: { shape: [3 * ROWS], key: [1, 2], counter: [3, 0] } }],
  scatterAdd: [{ inputs: [rows(2), integers(3, 2)], attrs: { axis: 1, shape: [ROWS, 3] } }],
  scatterAddRows: [
    { inputs: [rows(3), integers(5)], attrs: { rows: 5 } },
    { inputs: [{ shape: [7, 3] }, { shape: [7], dtype: 'int32', high: ROWS }], attrs: { rows: ROWS } },
  ],
  softmax: [{ inputs: [rows(3)], attrs: {} }],
  sum: [
    { inputs: [rows(3)], attrs: { axes: [1], keepDims: false } },
    { inputs: [rows(3)], attrs: { axes: [0], keepDims: false } },
    { inputs: [{ shape: [3, ROWS] }], attrs: { axes: [1], keepDims: false } },
  ],
  topk: [{ inputs: [rows(3)], attrs: { k: 2, largest: true } }],
};

/** Above 65,535 workgroups of 256 threads, one element each. */
const ELEMENTS = 65_536 * 256 + 257;

/** A row of as many values as a workgroup has threads, and more; their sum is exact. */
const WIDTH = 257;

/** Values that differ from their neighbours and repeat late. */
const valueAt = (i: number): number => i % 8191;

function values(...shape: readonly number[]): Tensor {
  const data = new Float32Array(sizeOf(shape));
  for (let i = 0; i < data.length; i++) data[i] = valueAt(i);
  return tensor(data, { shape });
}

/** Says where a result, too large for the oracle, is first not `wanted`; null where it is right. */
async function compareKnown(
  what: string,
  backend: Backend,
  make: () => Tensor,
  wanted: (i: number) => number,
): Promise<string | null> {
  const before = setDefaultBackend(backend);
  try {
    return await withoutLeak(backend, async () => {
      const result = scope(make);
      const got = await result.data().finally(() => result.dispose());
      let at = 0;
      while (at < got.length && got[at] === wanted(at)) at++;
      return at === got.length ? null : `${what} of ${got.length}: at ${at} got ${got[at]}, wanted ${wanted(at)}`;
    });
  } catch (error) {
    return `${what}: ${messageOf(error)}`;
  } finally {
    setDefaultBackend(before);
  }
}

type Op = OpDefinition<Attrs>;

/** Tens of millions of elements whose results are known, each for another kind of kernel. */
export const HUGE: Readonly<Record<string, (op: Op, backend: Backend) => Promise<string | null>>> = {
  // Four elements a thread.
  fill: (op, backend) => {
    const attrs = { shape: [4 * ELEMENTS], dtype: 'uint8', value: 7 };
    return compareKnown(
      'fill',
      backend,
      () => call(op, [], attrs)[0],
      () => 7,
    );
  },
  // Elements that do not lie in order.
  affine: (op, backend) => {
    const attrs = { scale: 2, shift: 1 };
    const make = () => call(op, [transpose(values(ELEMENTS, 2))], attrs)[0];
    const source = (i: number) => (i < ELEMENTS ? 2 * i : 2 * (i - ELEMENTS) + 1);
    return compareKnown('affine of a transposed tensor', backend, make, (i) => 2 * valueAt(source(i)) + 1);
  },
  sum: (op, backend) => {
    const attrs = { axes: [1], keepDims: false };
    const make = () => call(op, [values(ROWS, WIDTH)], attrs)[0];
    return compareKnown('sum of rows', backend, make, (row) => {
      let wanted = 0;
      for (let i = 0; i < WIDTH; i++) wanted += valueAt(row * WIDTH + i);
      return wanted;
    });
  },
};

/** Operands that need more than 65,535 workgroups, the most that one axis of a WebGPU grid has. */
import type { Attrs, Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { messageOf } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import type { OpDefinition, Sample } from '../../core/op.js';
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
  argmax: [{ inputs: [rows(3)], attrs: line }],
  attention: [
    {
      inputs: [{ shape: [1100, 1, 61, 2] }, { shape: [1100, 2, 61, 2] }, { shape: [1100, 2, 61, 2] }, null, null],
      attrs: { scale: 0.7, dropout: 0, seed: [0, 0], counter: [0, 0] },
    },
  ],
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

/** Above 65,535 workgroups of 256 threads. */
const ELEMENTS = 65_536 * 256 + 257;

/** Values that differ from their neighbours and repeat late. */
const valueAt = (i: number): number => i % 8191;

/** Calls an op on `count` values, too many for the oracle, and says where its result is first not `wanted`. */
async function compareKnown(
  op: OpDefinition<Attrs>,
  attrs: Attrs,
  shape: readonly number[],
  backend: Backend,
  wanted: (i: number) => number,
): Promise<string | null> {
  const count = shape.reduce((n, d) => n * d, 1);
  const before = setDefaultBackend(backend);
  try {
    return await withoutLeak(backend, async () => {
      const values = new Float32Array(count);
      for (let i = 0; i < count; i++) values[i] = valueAt(i);
      const result: Tensor = scope(() => call(op, [tensor(values, { shape })], attrs)[0]);
      const got = await result.data().finally(() => result.dispose());
      const at = got.findIndex((v, i) => v !== wanted(i));
      return at < 0 ? null : `${op.name} of ${count} elements: at ${at} got ${got[at]}, wanted ${wanted(at)}`;
    });
  } catch (error) {
    return `${op.name} of ${count} elements: ${messageOf(error)}`;
  } finally {
    setDefaultBackend(before);
  }
}

/** Tens of millions of elements, whose results are known: an elementwise op, and one that works on rows. */
export const HUGE: Readonly<Record<string, (op: OpDefinition<Attrs>, backend: Backend) => Promise<string | null>>> = {
  affine: (op, backend) => compareKnown(op, { scale: 2, shift: 1 }, [ELEMENTS], backend, (i) => 2 * valueAt(i) + 1),
  sum: (op, backend) =>
    compareKnown(
      op,
      { axes: [1], keepDims: false },
      [ELEMENTS, 2],
      backend,
      (i) => valueAt(2 * i) + valueAt(2 * i + 1),
    ),
};

/** A device with the least limits that WebGPU allows: BEiT-3's word table is larger than what it binds at once. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { createBackend } from '../../backends/webgpu/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { cast, contiguous, gatherRows, linear, mul, narrow, transpose } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';

const found = await gpuOrReason();
const [ROWS, WIDTH] = [64010, 768];

describe('the word table on a GPU that binds 128 MB', { skip: typeof found === 'string' ? found : false }, () => {
  let backend: Backend;
  let table: Tensor;
  /** A number for each element that a float16 holds exactly. */
  const valueAt = (row: number, column: number): number => ((row * 31 + column * 7) % 255) / 64 - 2;

  const open = async (): Promise<void> => {
    if (backend) return;
    backend = await createBackend({ adapter: ADAPTER, without: ['limits'] });
    setDefaultBackend(backend);
    const values = new Float32Array(ROWS * WIDTH);
    for (let row = 0, i = 0; row < ROWS; row++) for (let c = 0; c < WIDTH; c++) values[i++] = valueAt(row, c);
    table = tensor(values, { shape: [ROWS, WIDTH] });
  };
  after(async () => {
    setDefaultBackend(null);
    await backend?.dispose();
  });

  const read = async (fn: () => Tensor): Promise<number[]> => {
    const result = scope(fn);
    const values = [...(await result.data())];
    result.dispose();
    return values;
  };

  it('is looked up in parts', async () => {
    await open();
    assert.equal(backend.details?.largestTensorMB, 256);
    const ids = [0, ROWS - 1, 43000, 43690, 43691, 7, 64000];
    const got = await read(() => narrow(gatherRows(table, tensor(Int32Array.from(ids))), 1, 100, 3));
    assert.deepEqual(
      got,
      ids.flatMap((id) => [100, 101, 102].map((c) => valueAt(id, c))),
    );
    await assert.rejects(
      read(() => gatherRows(table, tensor(Int32Array.from([5, ROWS])))),
      /\[gatherRows\] expected ids from 0 to 64009, got 64010/,
    );
  });

  it('is multiplied in parts', async () => {
    await open();
    const x = Float32Array.from({ length: 2 * WIDTH }, (_, i) => ((i * 13) % 17) / 8 - 1);
    const bias = Float32Array.from({ length: ROWS }, (_, i) => (i % 100) / 50);
    const columns = [0, 43690, 43691, 50000, ROWS - 1];
    const got = await read(() => {
      const logits = linear(tensor(x, { shape: [2, WIDTH] }), table, tensor(bias), {
        residual: tensor(
          Float32Array.from({ length: 2 * ROWS }, (_, i) => i % 3),
          { shape: [2, ROWS] },
        ),
      });
      return gatherRows(transpose(logits, 0, 1), tensor(Int32Array.from(columns)));
    });
    const wanted = columns.flatMap((n) =>
      [0, 1].map((row) => {
        let sum = bias[n] + ((row * ROWS + n) % 3);
        for (let k = 0; k < WIDTH; k++) sum += x[row * WIDTH + k] * valueAt(n, k);
        return sum;
      }),
    );
    got.forEach((value, i) => {
      assert.ok(Math.abs(value - wanted[i]) < 1e-3, `${value} instead of ${wanted[i]}`);
    });
  });

  it('is computed with in parts, also into other dtypes', async () => {
    await open();
    const rows = [0, 21000, 43690, ROWS - 1];
    const at = tensor(Int32Array.from(rows));
    const wanted = (factor: number) => rows.flatMap((id) => [766, 767].map((c) => factor * valueAt(id, c)));
    const sample = (t: Tensor) => narrow(gatherRows(t, at), 1, 766, 2);
    assert.deepEqual(await read(() => sample(mul(table, 2))), wanted(2));
    assert.deepEqual(await read(() => sample(cast(cast(table, 'float16'), 'float32'))), wanted(1));
  });

  it('says in one sentence what can’t be done in parts', async () => {
    await open();
    assert.throws(
      () => scope(() => contiguous(transpose(table, 0, 1))),
      (error: Error) =>
        error instanceof InputError &&
        /^This GPU computes on at most 12[78] MB of a tensor at once, and an operation needs \d+ MB; use/.test(
          error.message,
        ),
    );
    assert.throws(() => backend.alloc(2 ** 28 + 4), /buffers of at most 256 MB/);
  });
});

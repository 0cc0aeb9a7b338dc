import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openCheckpoint, readFloat32, resizePositions } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import { fixture } from './helpers.js';

test('position tables are resized as PyTorch does', async () => {
  const { tensors, close } = await openCheckpoint(fixture('positions.safetensors'));
  for (const direction of ['up', 'down']) {
    const table = tensors.get(`${direction}/table`)!;
    const resized = tensors.get(`${direction}/resized`)!;
    const [rows, dim] = table.shape;
    const got = resizePositions(await readFloat32(table), rows, dim, resized.shape[0]);
    const wanted = await readFloat32(resized);
    assert.equal(got.length, wanted.length);
    for (let i = 0; i < got.length; i++) {
      assert.ok(Math.abs(got[i] - wanted[i]) <= 1e-6, `${direction} ${i}: got ${got[i]}, wanted ${wanted[i]}`);
    }
  }
  await close();
});

test('a constant grid stays constant and the first rows are kept', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 0, max: 4 }),
      fc.integer({ min: 1, max: 5 }),
      (from, to, extra, dim) => {
        const rows = extra + from * from;
        const table = new Float32Array(rows * dim).fill(0.75);
        for (let i = 0; i < extra * dim; i++) table[i] = i - 3;
        const out = resizePositions(table, rows, dim, extra + to * to, extra);
        assert.equal(out.length, (extra + to * to) * dim);
        for (let i = 0; i < out.length; i++) {
          assert.ok(Math.abs(out[i] - (i < extra * dim ? i - 3 : 0.75)) < 1e-6);
        }
      },
    ),
  );
});

test('the same size gives an equal copy; other shapes are refused', () => {
  const table = Float32Array.from({ length: 7 * 2 }, (_, i) => i * 0.3);
  const copy = resizePositions(table, 7, 2, 7);
  assert.deepEqual(copy, table);
  assert.notEqual(copy.buffer, table.buffer);
  assert.throws(() => resizePositions(table, 7, 2, 8), /8 rows are not 3 and a square grid/);
  assert.throws(() => resizePositions(table, 7, 2, 3), InputError);
  assert.throws(() => resizePositions(table, 7, 3, 12), /expected 7 x 3 values, got 14/);
});

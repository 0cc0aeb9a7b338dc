import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { npyBytes, parseNpy, writeNpy } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import { temporaryFolder } from './helpers.js';

test('the bytes are those of numpy.save', () => {
  const bytes = npyBytes({ shape: [2, 3], data: new Float32Array(6) });
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117) + '\n';
  assert.equal(Buffer.from(bytes.subarray(0, 10)).toString('latin1'), '\x93NUMPY\x01\x00\x76\x00');
  assert.equal(Buffer.from(bytes.subarray(10, 128)).toString(), header);
  assert.equal(bytes.length, 128 + 24);
});

test('arrays come back as they were', async (t) => {
  const shape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });
  fc.assert(
    fc.property(shape, fc.boolean(), (axes, integers) => {
      const count = axes.reduce((a, b) => a * b, 1);
      const values = Array.from({ length: count }, (_, i) => i * 7 - 3);
      const data = integers ? Int32Array.from(values) : Float32Array.from(values);
      assert.deepEqual(parseNpy(npyBytes({ shape: axes, data })), { shape: axes, data });
    }),
  );
  const path = join(await temporaryFolder(t), 'x.npy');
  await writeNpy(path, { shape: [2], data: new Int32Array([5, -6]) });
  assert.deepEqual(parseNpy(await readFile(path)), { shape: [2], data: new Int32Array([5, -6]) });
});

test('damaged files are refused', () => {
  const good = npyBytes({ shape: [3, 4], data: new Float32Array(12) });
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, flip, cut) => {
      const bytes = cut ? good.slice(0, at) : good.slice();
      if (!cut) bytes[at] ^= flip;
      try {
        const { shape, data } = parseNpy(bytes);
        assert.equal(
          data.length,
          shape.reduce((a, b) => a * b, 1),
        );
        assert.ok(!cut);
      } catch (error) {
        assert.ok(error instanceof InputError);
      }
    }),
    { numRuns: 1000 },
  );
  assert.throws(() => parseNpy(new Uint8Array(4), 'a.npy'), /^InputError: a\.npy is not a \.npy file/);
  assert.throws(() => npyBytes({ shape: [2], data: new Float32Array(3) }), InputError);
});

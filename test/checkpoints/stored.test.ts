import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeFloat32, decodeInt32, elementCount, type StoredDType } from '../../checkpoints/index.js';
import { fromBfloat, fromHalf } from '../../core/dtype.js';
import { inputError } from './helpers.js';

const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

test('every half and bfloat16 is decoded as core does', () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const halves = decodeFloat32(bytesOf(bits), 'float16');
  const brains = decodeFloat32(bytesOf(bits), 'bfloat16');
  for (let i = 0; i < 65536; i++) {
    assert.ok(Object.is(halves[i], fromHalf(i)), `half ${i}`);
    assert.ok(Object.is(brains[i], fromBfloat(i)), `bfloat16 ${i}`);
  }
});

test('numbers of every type become float32, wherever their bytes lie', () => {
  const values = [0, 1, 5, 100, 127];
  const stored: Partial<Record<StoredDType, ArrayBufferView>> = {
    float32: Float32Array.from(values),
    float64: Float64Array.from(values),
    int64: BigInt64Array.from(values, BigInt),
    uint64: BigUint64Array.from(values, BigInt),
    int32: Int32Array.from(values),
    uint32: Uint32Array.from(values),
    int16: Int16Array.from(values),
    uint16: Uint16Array.from(values),
    int8: Int8Array.from(values),
    uint8: Uint8Array.from(values),
  };
  for (const [dtype, view] of Object.entries(stored) as [StoredDType, ArrayBufferView][]) {
    const shifted = new Uint8Array(view.byteLength + 1).subarray(1);
    shifted.set(bytesOf(view));
    assert.deepEqual(Array.from(decodeFloat32(shifted, dtype)), values, dtype);
    const into = new Float32Array(8).fill(-1);
    assert.equal(decodeFloat32(shifted, dtype, into).length, 5);
    assert.deepEqual(Array.from(into), [...values, -1, -1, -1], dtype);
    if (!dtype.startsWith('float')) assert.deepEqual(Array.from(decodeInt32(shifted, dtype)), values, dtype);
  }
  const large = bytesOf(BigInt64Array.of(-(2n ** 62n), -1n));
  assert.deepEqual(Array.from(decodeFloat32(large, 'int64')), [-(2 ** 62), -1]);
  assert.deepEqual(Array.from(decodeFloat32(large, 'uint64')), [2 ** 64 - 2 ** 62, 2 ** 64]);
});

test('integers that do not fit int32 are named', () => {
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), (value) => {
      const bytes = bytesOf(BigInt64Array.of(7n, value));
      const decode = () => decodeInt32(bytes, 'int64', undefined, 'ids');
      if (value === BigInt.asIntN(32, value)) assert.deepEqual(Array.from(decode()), [7, Number(value)]);
      else assert.throws(decode, inputError(new RegExp(`ids holds ${value}, which`)));
    }),
  );
  for (const value of [2n ** 31n, 2n ** 32n, 2n ** 64n - 1n]) {
    assert.throws(
      () => decodeInt32(bytesOf(BigUint64Array.of(value)), 'uint64'),
      inputError(new RegExp(`holds ${value},`)),
    );
  }
  assert.throws(() => decodeInt32(bytesOf(Uint32Array.of(2 ** 31)), 'uint32'), inputError(/holds 2147483648/));
  assert.throws(() => decodeInt32(new Uint8Array(4), 'float32'), inputError(/expected integers/));
  assert.throws(() => decodeFloat32(new Uint8Array(8), 'complex64'), inputError(/stored as complex64/));
  assert.throws(() => decodeFloat32(new Uint8Array(8), 'float32', new Float32Array(1)), inputError(/do not fit/));
});

test('shapes with impossible counts are not counted', () => {
  assert.equal(elementCount([]), 1);
  assert.equal(elementCount([3, 0, 2 ** 40]), 0);
  assert.ok(Number.isNaN(elementCount([2 ** 30, 2 ** 30])));
  assert.ok(Number.isNaN(elementCount([-1])));
  assert.ok(Number.isNaN(elementCount([1.5])));
  assert.ok(Number.isNaN(elementCount(['2'])));
});

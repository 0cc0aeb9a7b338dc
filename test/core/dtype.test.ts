/** 16-bit floats: every bit pattern, and rounding to the nearest even neighbour. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromBfloat, fromHalf, promote, toBfloat, toHalf } from '../../core/dtype.js';

const FORMATS = [
  { name: 'float16', to: toHalf, from: fromHalf, infinity: 0x7c00 },
  { name: 'bfloat16', to: toBfloat, from: fromBfloat, infinity: 0x7f80 },
] as const;

for (const { name, to, from, infinity } of FORMATS) {
  test(`${name}: every pattern is read and written back`, () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = from(bits);
      if ((bits & 0x7fff) > infinity) {
        assert.ok(Number.isNaN(value));
        assert.ok((to(value) & 0x7fff) > infinity, 'NaN stays NaN');
      } else if (to(value) !== bits)
        assert.fail(`${bits.toString(16)} reads ${value}, written ${to(value).toString(16)}`);
    }
    assert.equal(to(0), 0);
    assert.equal(to(-0), 0x8000);
    assert.equal(from(infinity), Number.POSITIVE_INFINITY);
  });

  test(`${name}: what lies between goes to the nearer neighbour, to the even one from the middle`, () => {
    const up = 1 + 2 ** -20;
    for (let bits = 0; bits < infinity - 1; bits++) {
      const [a, b] = [from(bits), from(bits + 1)];
      const middle = (a + b) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      // float32 holds the middle, but not always the numbers beside it where it is subnormal itself.
      if (Math.fround(middle) !== middle || middle < 2 ** -120) continue;
      assert.equal(to(middle), even);
      assert.equal(to(-middle), even | 0x8000);
      assert.equal(to(middle * up), bits + 1);
      assert.equal(to(middle / up), bits);
    }
  });
}

test('beyond the largest half lies infinity', () => {
  assert.equal(toHalf(65519), 0x7bff);
  assert.equal(toHalf(65520), 0x7c00);
  assert.equal(toHalf(-1e30), 0xfc00);
  assert.equal(toBfloat(3.4e38), 0x7f80);
});

test('operands meet in the wider dtype', () => {
  assert.equal(promote('int32', 'float16'), 'float16');
  assert.equal(promote('bfloat16', 'float16'), 'float32');
  assert.equal(promote('bool', 'uint8'), 'uint8');
  assert.equal(promote('float64', 'float32'), 'float64');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createBackend } from '../../backends/wasm/index.js';
import { Allocator } from '../../backends/wasm/memory/allocator.js';
import type { DType } from '../../core/dtype.js';
import { fromBfloat, fromHalf, toBfloat, toHalf } from '../../core/dtype.js';
import { E, type Expr, evaluator } from '../../core/expr.js';
import { broadcastShapes, sizeOf } from '../../core/layout.js';
import { close, normal, random, SCATTERS, withBackend } from './wasmHelpers.js';

test('allocator: blocks never overlap, neighbours merge, everything comes back', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { minLength: 1, maxLength: 300 }), (choices) => {
      let end = 4096;
      const allocator = new Allocator(64, end, (bytes) => {
        end += Math.ceil(bytes / 4096) * 4096;
        return end > 1 << 22 ? null : end;
      });
      const live: { start: number; size: number }[] = [];
      for (const c of choices) {
        if (c % 3 === 0 && live.length > 0) allocator.free(live.splice(c % live.length, 1)[0].start);
        else {
          const size = c % 7 === 0 ? c % 100_000 : c % 3000;
          const start = allocator.alloc(size);
          if (start === null) continue;
          assert.equal(start % 64, 0);
          assert.ok(start >= 64 && start + size <= end);
          for (const b of live) assert.ok(start + size <= b.start || b.start + b.size <= start, 'overlap');
          live.push({ start, size: Math.max(1, size) });
        }
      }
      for (const b of live) allocator.free(b.start);
      // One free block remains: all of it can be had at once.
      assert.equal(allocator.alloc(end - 64), 64);
    }),
  );
  const allocator = new Allocator(0, 1024, () => null);
  const block = allocator.alloc(100) as number;
  allocator.free(block);
  assert.throws(() => allocator.free(block), /freed twice/);
});

test('allocator: large blocks are not rounded up', () => {
  let end = 65536;
  const allocator = new Allocator(0, end, (bytes) => {
    end += bytes;
    return end;
  });
  const sizes = [350e6, 197e6, 9437184, 3072];
  for (const s of sizes) allocator.alloc(s);
  assert.ok(end <= sizes.reduce((a, b) => a + b) + 64 * sizes.length);
});

test('memory that does not fit is one clear sentence', async () => {
  const backend = await createBackend({ threads: 1 });
  const blocks = [backend.alloc(3 * 2 ** 30)];
  assert.throws(
    () => blocks.push(backend.alloc(2 ** 30)),
    /^InputError: The wasm backend was asked for 1024 MB more.*4 GiB/,
  );
  for (const b of blocks) backend.free(b);
  // What was refused left nothing behind.
  backend.free(backend.alloc(3.5 * 2 ** 30));
  assert.equal(backend.stats.liveBytes, 0);
  await backend.dispose();
});

test('memory: growth keeps contents, workers see it, read and write address bytes', async () => {
  await withBackend(2, async (t) => {
    const b = t.backend;
    const small = t.array([3], [1, 2, 3]);
    const big = t.empty([20_000_000]);
    const ones = t.array([1], [1]);
    b.copy({ ...ones, shape: big.shape, strides: [0] }, big);
    assert.deepEqual([...t.load(small)], [1, 2, 3]);
    assert.equal(b.host?.array(big.block, 'float32', 4 * 19_999_999, 1)[0], 1);
    b.write(small.block, 4, new Uint8Array(new Float32Array([9]).buffer));
    assert.deepEqual([...new Float32Array((await b.read(small.block, 4, 8)).buffer)], [9, 3]);
    await assert.rejects(b.read(small.block, 8, 8), RangeError);
  });
});

const shapes = fc.array(fc.constantFrom(0, 1, 2, 3, 5, 7, 8, 13, 17), { maxLength: 4 });

test('copy: every pair of dtypes from every layout', async () => {
  const dtypes: DType[] = ['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'];
  for (const threads of [1, 2]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(
          shapes,
          fc.constantFrom(...dtypes),
          fc.constantFrom(...dtypes),
          fc.constantFrom(...SCATTERS),
          fc.constantFrom(...SCATTERS),
          fc.nat(),
          (shape, from, to, lying, landing, seed) => {
            const next = random(seed);
            const n = sizeOf(shape);
            const raw = Float64Array.from(
              { length: n },
              () => Math.floor(next() * 200) + (from === 'float32' ? 0.25 : 0),
            );
            const source = t.scattered(shape, raw, lying, from);
            const target = t.scattered(shape, new Float64Array(n), landing, to);
            t.backend.copy(source, target);
            const want = t.empty(shape, to);
            const given = t.load(source);
            const whole = to === 'int32' || to === 'uint8';
            t.store(want, whole ? given.map(Math.trunc) : given);
            assert.deepEqual(t.load(target), t.load(want));
            t.clear();
          },
        ),
        { numRuns: 300 },
      );
    });
  }
});

test('copy: half and bfloat rounding agrees with core/dtype for all patterns', async () => {
  await withBackend(1, (t) => {
    const patterns = Float64Array.from({ length: 65536 }, (_, i) => i);
    for (const [dtype, decode, encode] of [
      ['float16', fromHalf, toHalf],
      ['bfloat16', fromBfloat, toBfloat],
    ] as const) {
      const bits = t.empty([65536], dtype);
      t.bits(bits).set(patterns);
      const wide = t.empty([65536]);
      t.backend.copy(bits, wide);
      t.load(wide).forEach((got, i) => {
        assert.ok(Object.is(got, decode(i)), `${dtype} ${i}: ${got}, wanted ${decode(i)}`);
      });
      const next = random(3);
      const values = Float64Array.from({ length: 200_000 }, () => {
        const exponent = Math.floor(next() * 60) - 35;
        return Math.fround((next() * 2 - 1) * 2 ** exponent);
      });
      values.set([65519.996, 65520, 65504, 2 ** -25, 2 ** -24, 6e-8, -0, Infinity, -Infinity, Number.NaN, 3.4e38]);
      const from = t.array([values.length], values);
      const narrow = t.empty([values.length], dtype);
      t.backend.copy(from, narrow);
      const got = t.bits(narrow);
      values.forEach((v, i) => {
        if (Number.isNaN(v)) assert.ok(Number.isNaN(decode(got[i])));
        else assert.equal(got[i], encode(Math.fround(v)), `${dtype} ${v}`);
      });
      t.clear();
    }
  });
});

/** Errors in units of the last place of the wanted float32. */
function ulps(got: number, want: number): number {
  if (Number.isNaN(want)) return Number.isNaN(got) ? 0 : Infinity;
  const rounded = Math.fround(want);
  if (got === rounded) return 0;
  const unit = Math.max(2 ** -149, 2 ** (Math.floor(Math.log2(Math.abs(rounded))) - 23));
  return Math.abs(got - want) / unit;
}

test('functions are accurate to two units in the last place, over all magnitudes', async () => {
  await withBackend(1, (t) => {
    const next = random(1);
    const special = [
      0,
      -0,
      1,
      -1,
      Infinity,
      -Infinity,
      Number.NaN,
      3.4e38,
      -3.4e38,
      1e-45,
      1.2e-38,
      88.7,
      88.73,
      -103.9,
      -104.1,
      -87.4,
    ];
    const values = Float64Array.from({ length: 100_000 }, (_, i) =>
      i < special.length ? special[i] : i % 2 ? (next() * 2 - 1) * 10 : (next() * 2 - 1) * 2 ** (next() * 40 - 30),
    ).map(Math.fround);
    const x = t.array([values.length], values);
    const limits = { exp: 1.5, log: 1.5, erf: 1.5, tanh: 2, sqrt: 0.51, abs: 0, neg: 0, floor: 0 } as const;
    for (const name of Object.keys(limits) as (keyof typeof limits)[]) {
      const expr = E[name](E.input(0));
      const kernel = t.backend.compile(name, expr);
      const out = t.empty([values.length]);
      kernel?.plan([x], {}, [out])?.([out]);
      const f = evaluator(expr, {});
      const got = t.load(out);
      values.forEach((v, i) => {
        const error = ulps(got[i], f([v]));
        assert.ok(error <= limits[name], `${name}(${v}) = ${got[i]}, wanted ${f([v])}: ${error} ulp`);
      });
    }
  });
});

test('gelu is accurate to 1.5e-7 of max(1, |x|)', async () => {
  await withBackend(1, (t) => {
    const x = E.input(0);
    const expr = E.mul(E.mul(x, 0.5), E.add(E.erf(E.mul(x, Math.SQRT1_2)), 1));
    const values = Float64Array.from({ length: 40_001 }, (_, i) => Math.fround(i / 2000 - 10));
    const out = t.empty([values.length]);
    const given = t.array([values.length], values);
    t.backend.compile('gelu', expr)?.plan([given], {}, [out])?.([out]);
    const f = evaluator(expr, {});
    t.load(out).forEach((got, i) => {
      assert.ok(
        Math.abs(got - f([values[i]])) <= 1.5e-7 * Math.max(1, Math.abs(values[i])),
        `gelu(${values[i]}) = ${got}`,
      );
    });
  });
});

test('expressions over broadcast and strided operands equal the plain loop, on any number of threads', async () => {
  const shared = E.exp(E.mul(E.input(0), E.attr('scale')));
  const exprs: Record<string, Expr> = {
    sum: E.add(E.input(0), E.input(1)),
    twice: E.div(E.add(shared, E.input(1)), E.add(shared, 1)),
    choose: E.select(E.less(E.input(0), E.input(1)), E.pow(E.input(0), 3), E.maximum(E.input(1), E.attr('scale'))),
    test: E.lessEqual(E.input(0), E.input(1)),
  };
  for (const threads of [1, 3]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(
          fc.array(fc.constantFrom(0, 1, 2, 3, 5, 8, 17, 33), { maxLength: 3 }),
          fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
          fc.constantFrom(...SCATTERS),
          fc.constantFrom(...SCATTERS),
          fc.constantFrom(...Object.keys(exprs)),
          fc.constantFrom('float32', 'bool', 'uint8'),
          fc.nat(),
          (shape, ones, first, second, name, dtype, seed) => {
            const next = random(seed);
            const other = shape.map((d, i) => (ones[i] ? 1 : d)).slice(seed % 2);
            const x = t.scattered(shape, normal(sizeOf(shape), next), first);
            const y = t.scattered(
              other,
              normal(sizeOf(other), next).map(dtype === 'float32' ? (v) => v : (v) => Math.trunc(v * v)),
              second,
              dtype as DType,
            );
            const target = broadcastShapes('test', shape, other);
            const out = t.empty(target, name === 'test' ? 'bool' : 'float32');
            const attrs = { scale: 0.5 + (seed % 3) };
            const run = t.backend.compile(name, exprs[name])?.plan([x, y], attrs, [out]);
            assert.ok(run);
            run([out]);
            const f = evaluator(exprs[name], attrs);
            const [xs, ys] = [x, y].map((v) => t.load(broadcastTo(v, target)));
            close(
              t.load(out),
              xs.map((a, i) => f([a, ys[i]])),
              1e-6,
            );
            t.clear();
          },
        ),
        { numRuns: 200 },
      );
    });
  }
});

function broadcastTo<V extends { shape: readonly number[]; strides: readonly number[] }>(
  v: V,
  shape: readonly number[],
): V {
  const lead = shape.length - v.shape.length;
  return { ...v, shape, strides: shape.map((_, i) => (i < lead || v.shape[i - lead] === 1 ? 0 : v.strides[i - lead])) };
}

test('expressions under one key have kernels of their own', async () => {
  await withBackend(2, (t) => {
    const x = t.array([3], [1, 2, 3]);
    const shifts = [1, 10, 100].map((n) => ({ n, expr: E.add(E.input(0), n) }));
    for (const { n, expr } of [...shifts, ...shifts]) {
      const y = t.empty([3]);
      t.backend.compile('shift', expr)?.plan([x], {}, [y])?.([y]);
      assert.deepEqual([...t.load(y)], [1 + n, 2 + n, 3 + n]);
    }
  });
});

test('expressions it cannot compute are declined', async () => {
  await withBackend(1, (t) => {
    assert.equal(t.backend.compile('sin', E.sin(E.input(0))), null);
    assert.equal(t.backend.compile('pow', E.pow(E.input(0), E.input(1))), null);
    const ids = t.array([2], [1, 2], 'int32');
    assert.equal(t.backend.compile('neg', E.neg(E.input(0)))?.plan([ids], {}, [{ dtype: 'int32', shape: [2] }]), null);
  });
});

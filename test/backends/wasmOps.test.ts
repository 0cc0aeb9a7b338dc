/** Losses, optimiser, gathers, maxima, random bits and moves, against plain float64 loops. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { View } from '../../core/backend.js';
import type { DType } from '../../core/dtype.js';
import { sizeOf } from '../../core/layout.js';
import { philox } from '../../core/random.js';
import { close, f32, normal, random, SCATTERS, withBackend } from './wasmHelpers.js';

const ids = (n: number, below: number, next: () => number): Float64Array =>
  Float64Array.from({ length: n }, () => Math.floor(next() * below));

test('crossEntropy and its gradient: smoothing, ignored rows, targets that do not exist', async () => {
  await withBackend(2, (t) => {
    fc.assert(
      fc.property(
        fc.constantFrom(0, 1, 3, 20),
        fc.constantFrom(1, 2, 3, 7, 16, 133),
        fc.constantFrom(0, 0.1),
        fc.nat(),
        (n, C, smoothing, seed) => {
          const next = random(seed);
          const x = normal(n * C, next, 5);
          const target = ids(n, C, next);
          const dloss = normal(n, next);
          if (n > 2) target[0] = -100;
          const loss = new Float64Array(n);
          const lse = new Float64Array(n);
          const dx = new Float64Array(n * C);
          for (let i = 0; i < n; i++) {
            const row = x.slice(i * C, (i + 1) * C);
            const top = Math.max(...row);
            lse[i] = top + Math.log(row.reduce((s, v) => s + Math.exp(v - top), 0));
            if (target[i] === -100) continue;
            const mean = row.reduce((s, v) => s + v, 0) / C;
            loss[i] = (1 - smoothing) * (lse[i] - row[target[i]]) + smoothing * (lse[i] - mean);
            row.forEach((v, j) => {
              const wanted = (j === target[i] ? 1 - smoothing : 0) + smoothing / C;
              dx[i * C + j] = dloss[i] * (Math.exp(v - lse[i]) - wanted);
            });
          }
          const attrs = { smoothing, ignoreIndex: -100 };
          const [vx, vt] = [t.array([n, C], x), t.array([n], target, 'int32')];
          const got = t.values('crossEntropy', [vx, vt], attrs, [f32(n), f32(n)]);
          close(got[0], loss, 2e-6, 'loss');
          close(got[1], lse, 1e-6, 'lse');
          const saved = t.array([n], lse.map(Math.fround));
          close(
            t.values('crossEntropyBackward', [t.array([n], dloss), vx, saved, vt], attrs, [f32(n, C)])[0],
            dx,
            5e-6,
            'dx',
          );
          t.clear();
        },
      ),
      { numRuns: 80 },
    );
    const wrong = [t.array([2, 3], new Float64Array(6)), t.array([2], [3, -1], 'int32')];
    const [loss] = t.values('crossEntropy', wrong, { smoothing: 0, ignoreIndex: -100 }, [f32(2), f32(2)]);
    assert.ok(loss.every(Number.isNaN));
  });
});

test('adamwStep over several tensors with clipping, globalNorm', async () => {
  for (const threads of [1, 2]) {
    await withBackend(threads, (t) => {
      const next = random(11);
      const shapes = [[40_001], [3, 5], [], [0], [7]];
      const n = shapes.length;
      const make = (map: (x: number) => number): Float64Array[] =>
        shapes.map((s) => normal(sizeOf(s), next).map(map).map(Math.fround));
      const [p, g, m, v] = [make((x) => x), make((x) => x), make((x) => 0.1 * x), make((x) => 0.01 * x * x)];
      const views = [p, g, m, v].map((list) => list.map((x, i) => t.array(shapes[i], x)));
      const [norm] = t.call('globalNorm', views[1], {}, [f32()]) as View[];
      const length = Math.sqrt(g.flatMap((x) => [...x]).reduce((s, x) => s + x * x, 0));
      close(t.load(norm), [length], 1e-6, 'norm');
      const lr = shapes.map((_, i) => 1e-2 / (i + 1));
      const weightDecay = shapes.map((_, i) => (i % 2 ? 0 : 0.05));
      const attrs = { count: n, lr, weightDecay, beta1: 0.9, beta2: 0.98, eps: 1e-8, step: 3, maxNorm: 2 };
      t.call('adamwStep', [...views.flat(), norm], attrs, []);
      const clip = Math.min(1, 2 / (length + 1e-6));
      shapes.forEach((_, i) => {
        const mean = m[i].map((x, j) => 0.9 * x + 0.1 * g[i][j] * clip);
        const square = v[i].map((x, j) => 0.98 * x + 0.02 * (g[i][j] * clip) ** 2);
        const after = p[i].map((x, j) => {
          const step = (lr[i] / (1 - 0.9 ** 3)) * mean[j];
          return x * (1 - lr[i] * weightDecay[i]) - step / (Math.sqrt(square[j]) / Math.sqrt(1 - 0.98 ** 3) + 1e-8);
        });
        close(t.load(views[0][i]), after, 1e-6, 'p');
        close(t.load(views[2][i]), mean, 1e-6, 'm');
        close(t.load(views[3][i]), square, 1e-6, 'v');
      });
    });
  }
});

test('gatherRows of any dtype, scatterAddRows, wrong ids', async () => {
  await withBackend(2, (t) => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 3, 50),
        fc.constantFrom(0, 1, 7, 200),
        fc.constantFrom(1, 3, 5, 64, 130),
        fc.constantFrom('float32', 'bfloat16', 'int32', 'bool'),
        fc.nat(),
        (V, n, width, dtype, seed) => {
          const next = random(seed);
          const table = ids(V * width, 2, next);
          const g = normal(n * width, next);
          const rows = ids(n, V, next);
          const vids = t.array([n], rows, 'int32');
          const [got] = t.call('gatherRows', [t.array([V, width], table, dtype as DType), vids], {}, [
            { dtype: dtype as DType, shape: [n, width] },
          ]) as View[];
          const want = Float64Array.from(
            { length: n * width },
            (_, i) => table[rows[Math.floor(i / width)] * width + (i % width)],
          );
          assert.deepEqual(t.load(got), want);
          const sum = new Float64Array(V * width);
          g.forEach((x, i) => {
            sum[rows[Math.floor(i / width)] * width + (i % width)] += x;
          });
          close(t.values('scatterAddRows', [t.array([n, width], g), vids], { rows: V }, [f32(V, width)])[0], sum, 1e-5);
          t.clear();
        },
      ),
      { numRuns: 80 },
    );
    const table = t.array([3, 2], new Float64Array(6));
    for (const id of [-1, 3]) {
      assert.throws(
        () => t.call('gatherRows', [table, t.array([1], [id], 'int32')], {}, [f32(1, 2)]),
        /expected ids from 0 to 2/,
      );
    }
  });
});

test('max and argmax: the first of equals, NaN wins', async () => {
  await withBackend(2, (t) => {
    fc.assert(
      fc.property(fc.constantFrom([5], [3, 4], [2, 3, 5], [7, 1, 2]), fc.nat(2), fc.nat(), (shape, pick, seed) => {
        const next = random(seed);
        const x = ids(sizeOf(shape), 4, next).map((v) => (next() < 0.1 ? Number.NaN : v));
        const axis = pick % shape.length;
        const inner = sizeOf(shape.slice(axis + 1));
        const out = shape.filter((_, i) => i !== axis);
        const values = new Float64Array(sizeOf(out));
        const indices = values.map((_, line) => {
          const start = Math.floor(line / inner) * shape[axis] * inner + (line % inner);
          const all = Array.from({ length: shape[axis] }, (_, i) => x[start + i * inner]);
          const nan = all.findIndex(Number.isNaN);
          const at = nan >= 0 ? nan : all.indexOf(Math.max(...all));
          values[line] = all[at];
          return at;
        });
        const attrs = { axis, keepDims: false };
        const whole: { dtype: DType; shape: number[] } = { dtype: 'int32', shape: out };
        const got = t.values('max', [t.array(shape, x)], attrs, [f32(...out), whole]);
        assert.deepEqual(got, [values, indices]);
        assert.deepEqual(t.values('argmax', [t.array(shape, x)], attrs, [whole])[0], indices);
        t.clear();
      }),
    );
  });
});

test('randomBits are those of core/random', async () => {
  await withBackend(2, (t) => {
    for (const [n, key, counter] of [
      [0, [1, 2], [3, 4]],
      [5, [0xdeadbeef, 7], [0xffffffff, 0xffffffff]],
      [10_007, [1, 0x80000000], [0xfffffff0, 5]],
    ] as const) {
      const want = new Uint32Array(n);
      philox(key, counter, want);
      const got = t.values('randomBits', [], { shape: [n], key, counter }, [{ dtype: 'int32', shape: [n] }])[0];
      assert.deepEqual(got, Float64Array.from(new Int32Array(want.buffer)));
    }
  });
});

test('fill, cat and pad of every dtype', async () => {
  await withBackend(2, (t) => {
    for (const dtype of ['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'] as const) {
      const output = (...shape: number[]) => [{ dtype, shape }];
      const one = dtype === 'bool' ? 1 : 3;
      assert.deepEqual(
        [...t.values('fill', [], { shape: [2, 3], dtype, value: 3 }, output(2, 3))[0]],
        new Array(6).fill(one),
      );
      for (const how of SCATTERS) {
        const x = t.scattered([2, 3], [0, 1, 1, 0, 1, 1], how, dtype);
        const y = t.scattered([2, 1], [1, 0], how, dtype);
        assert.deepEqual([...t.values('cat', [x, y], { axis: 1 }, output(2, 4))[0]], [0, 1, 1, 1, 0, 1, 1, 0]);
        const padded = t.values('pad', [x], { shape: [3, 6], starts: [1, 0], steps: [1, 2] }, output(3, 6))[0];
        assert.deepEqual([...padded], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0]);
      }
    }
  });
});

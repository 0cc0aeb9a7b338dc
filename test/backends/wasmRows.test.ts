/** Kernels over rows and reductions, against plain float64 loops. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { sizeOf } from '../../core/layout.js';
import { type Bench, close, f32, normal, random, withBackend } from './wasmHelpers.js';

const widths = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 64, 67);
const counts = fc.constantFrom(0, 1, 2, 3, 5, 8, 33, 70);

/** Runs `fn` on each row of x [rows, width]. */
function rows(
  x: Float64Array,
  width: number,
  fn: (row: Float64Array, index: number) => ArrayLike<number>,
): Float64Array {
  const out: number[] = [];
  for (let i = 0; i * width < x.length; i++) out.push(...Array.from(fn(x.slice(i * width, (i + 1) * width), i)));
  return Float64Array.from(out);
}

const total = (x: Float64Array): number => x.reduce((a, b) => a + b, 0);
const softmax = (x: Float64Array): Float64Array => {
  const top = Math.max(...x);
  const e = x.map((v) => Math.exp(v - top));
  const s = total(e);
  return e.map((v) => v / s);
};

test('sum over any axes', async () => {
  for (const threads of [1, 2]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(
          fc.array(fc.constantFrom(0, 1, 2, 3, 5, 17, 40), { maxLength: 4 }),
          fc.nat(15),
          fc.boolean(),
          fc.nat(),
          (shape, mask, keepDims, seed) => {
            const x = normal(sizeOf(shape), random(seed));
            const axes = shape.map((_, i) => i).filter((i) => (mask >> i) & 1);
            const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
            const want = new Float64Array(sizeOf(kept));
            x.forEach((v, i) => {
              let rest = i;
              let at = 0;
              let step = 1;
              for (let axis = shape.length - 1; axis >= 0; axis--) {
                at += (axes.includes(axis) ? 0 : rest % shape[axis]) * step;
                step *= kept[axis];
                rest = Math.floor(rest / shape[axis]);
              }
              want[at] += v;
            });
            const output = keepDims ? kept : kept.filter((_, i) => !axes.includes(i));
            // Errors grow like a random walk, whatever the terms cancel to.
            const tolerance = 1e-6 * Math.max(10, Math.sqrt(x.length));
            close(t.values('sum', [t.array(shape, x)], { axes, keepDims }, [f32(...output)])[0], want, tolerance);
            t.clear();
          },
        ),
        { numRuns: 200 },
      );
    });
  }
});

test('long sums stay exact to float32', async () => {
  await withBackend(2, (t) => {
    const n = 3_000_000;
    const x = new Float64Array(n).map((_, i) => Math.fround(0.1 + (i % 7) * 1e-3));
    const want = total(x);
    const all = t.array([n], x);
    close(t.values('sum', [all], { axes: [0], keepDims: false }, [f32()])[0], [want], 1e-7);
    const columns = t.values('sum', [{ ...all, shape: [n / 3, 3], strides: [3, 1] }], { axes: [0], keepDims: false }, [
      f32(3),
    ])[0];
    close([columns[0] + columns[1] + columns[2]], [want], 5e-7);
  });
});

test('softmax and logSoftmax with their gradients', async () => {
  for (const threads of [1, 3]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(counts, widths, fc.constantFrom(1, 30), fc.nat(), (n, width, scale, seed) => {
          const next = random(seed);
          const x = normal(n * width, next, scale);
          const dy = normal(n * width, next);
          if (n > 1 && width > 1) x[1] = -Infinity;
          const output = [f32(n, width)];
          const y = rows(x, width, softmax);
          const logs = rows(x, width, (r) =>
            softmax(r).map(
              (_, i) => r[i] - Math.max(...r) - Math.log(total(r.map((v) => Math.exp(v - Math.max(...r))))),
            ),
          );
          close(t.values('softmax', [t.array([n, width], x)], {}, output)[0], y, 4e-7, 'softmax');
          close(t.values('logSoftmax', [t.array([n, width], x)], {}, output)[0], logs, 1e-6, 'logSoftmax');
          const at = (row: Float64Array, i: number): Float64Array => row.slice(i * width, (i + 1) * width);
          const back = rows(dy, width, (g, i) => {
            const dot = total(g.map((v, j) => v * at(y, i)[j]));
            return g.map((v, j) => at(y, i)[j] * (v - dot));
          });
          const operands = (saved: Float64Array) => [
            t.array([n, width], dy),
            t.array([n, width], saved.map(Math.fround)),
          ];
          close(t.values('softmaxBackward', operands(y), {}, output)[0], back, 2e-6, 'softmaxBackward');
          const logBack = rows(dy, width, (g, i) => g.map((v, j) => v - at(y, i)[j] * total(g)));
          close(t.values('logSoftmaxBackward', operands(logs), {}, output)[0], logBack, 2e-5, 'logSoftmaxBackward');
          t.clear();
        }),
        { numRuns: 60 },
      );
    });
  }
});

test('softmax of NaN, of all -Infinity, of huge values', async () => {
  await withBackend(1, (t) => {
    const x = [Number.NaN, 1, 2, -Infinity, -Infinity, -Infinity, 3e38, -3e38, 3e38];
    const [y] = t.values('softmax', [t.array([3, 3], x)], {}, [f32(3, 3)]);
    assert.ok(y.slice(0, 6).every(Number.isNaN));
    assert.deepEqual([...y.slice(6)], [0.5, 0, 0.5]);
  });
});

interface Norm {
  y: Float64Array;
  mean: Float64Array;
  rstd: Float64Array;
}

function layerNorm(
  x: Float64Array,
  width: number,
  weights: (row: number) => [Float64Array | null, Float64Array | null],
  eps: number,
): Norm {
  const mean: number[] = [];
  const rstd: number[] = [];
  const y = rows(x, width, (r, i) => {
    const m = total(r) / width;
    const s = 1 / Math.sqrt(total(r.map((v) => (v - m) ** 2)) / width + eps);
    mean.push(m);
    rstd.push(s);
    const [w, b] = weights(i);
    return r.map((v, j) => (v - m) * s * (w?.[j] ?? 1) + (b?.[j] ?? 0));
  });
  return { y, mean: Float64Array.from(mean), rstd: Float64Array.from(rstd) };
}

function layerNormBackward(
  dy: Float64Array,
  x: Float64Array,
  n: Norm,
  width: number,
  weight: (row: number) => Float64Array | null,
  sets: number,
  setOf: (row: number) => number,
) {
  const dw = Array.from({ length: sets }, () => new Float64Array(width));
  const db = Array.from({ length: sets }, () => new Float64Array(width));
  const dx = rows(x, width, (r, i) => {
    const g = dy.slice(i * width, (i + 1) * width);
    const normal = r.map((v) => (v - n.mean[i]) * n.rstd[i]);
    const scaled = g.map((v, j) => v * (weight(i)?.[j] ?? 1));
    g.forEach((v, j) => {
      dw[setOf(i)][j] += v * normal[j];
      db[setOf(i)][j] += v;
    });
    const a = total(scaled) / width;
    const p = total(scaled.map((v, j) => v * normal[j])) / width;
    return scaled.map((v, j) => n.rstd[i] * (v - a - normal[j] * p));
  });
  return { dx, dw, db };
}

test('layerNorm and its gradients', async () => {
  for (const threads of [1, 2]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(counts, widths, fc.boolean(), fc.boolean(), fc.nat(), (n, width, hasWeight, hasBias, seed) => {
          fc.pre(width > 4);
          const next = random(seed);
          const [x, dy] = [normal(n * width, next), normal(n * width, next)];
          const w = hasWeight ? normal(width, next) : null;
          const b = hasBias ? normal(width, next) : null;
          const want = layerNorm(x, width, () => [w, b], 1e-5);
          const [vx, vdy] = [t.array([n, width], x), t.array([n, width], dy)];
          const vw = w && t.array([width], w);
          const got = t.values('layerNorm', [vx, vw, b && t.array([width], b)], { eps: 1e-5 }, [
            f32(n, width),
            f32(n),
            f32(n),
          ]);
          close(got[0], want.y, 5e-5, 'y');
          close(got[1], want.mean, 1e-6, 'mean');
          close(got[2], want.rstd, 5e-5, 'rstd');
          const grads = layerNormBackward(
            dy,
            x,
            want,
            width,
            () => w,
            1,
            () => 0,
          );
          const saved = [t.array([n], want.mean.map(Math.fround)), t.array([n], want.rstd.map(Math.fround))];
          const back = t.values('layerNormBackward', [vdy, vx, ...saved, vw], {}, [
            f32(n, width),
            f32(width),
            f32(width),
          ]);
          close(back[0], grads.dx, 1e-4, 'dx');
          close(back[1], grads.dw[0], 1e-4, 'dw');
          close(back[2], grads.db[0], 2e-5, 'db');
          t.clear();
        }),
        { numRuns: 80 },
      );
    });
  }
});

test('multiwayLayerNorm and its gradients', async () => {
  await withBackend(2, (t) => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 3),
        fc.constantFrom(2, 5, 40),
        fc.nat(),
        fc.constantFrom(3, 8, 13),
        fc.nat(),
        (B, L, cut, width, seed) => {
          const split = 1 + (cut % (L - 1));
          const next = random(seed);
          const [x, dy] = [normal(B * L * width, next), normal(B * L * width, next)];
          const [wA, bA, wB, bB] = [0, 1, 2, 3].map(() => normal(width, next));
          const setOf = (row: number): number => (row % L < split ? 0 : 1);
          const want = layerNorm(x, width, (row) => (setOf(row) === 0 ? [wA, bA] : [wB, bB]), 1e-5);
          const [vx, vdy] = [t.array([B, L, width], x), t.array([B, L, width], dy)];
          const weights = [wA, bA, wB, bB].map((w) => t.array([width], w));
          const got = t.values('multiwayLayerNorm', [vx, ...weights], { split, eps: 1e-5 }, [
            f32(B, L, width),
            f32(B, L),
            f32(B, L),
          ]);
          close(got[0], want.y, 5e-5, 'y');
          const grads = layerNormBackward(dy, x, want, width, (row) => (setOf(row) === 0 ? wA : wB), 2, setOf);
          const saved = [t.array([B, L], want.mean.map(Math.fround)), t.array([B, L], want.rstd.map(Math.fround))];
          const outputs = [f32(B, L, width), f32(width), f32(width), f32(width), f32(width)];
          const back = t.values(
            'multiwayLayerNormBackward',
            [vdy, vx, ...saved, weights[0], weights[2]],
            { split },
            outputs,
          );
          [grads.dx, grads.dw[0], grads.db[0], grads.dw[1], grads.db[1]].forEach((g, i) => {
            close(back[i], g, 1e-4, `gradient ${i}`);
          });
          t.clear();
        },
      ),
      { numRuns: 60 },
    );
  });
});

function runAll(t: Bench): Float64Array[] {
  const next = random(4);
  const [x, dy] = [t.array([500, 100], normal(50_000, next)), t.array([500, 100], normal(50_000, next))];
  const [mean, rstd, w] = [
    t.array([500], normal(500, next)),
    t.array([500], normal(500, next)),
    t.array([100], normal(100, next)),
  ];
  const whole = f32(500, 100);
  return [
    ...t.values('layerNorm', [x, w, w], { eps: 1e-5 }, [whole, f32(500), f32(500)]),
    ...t.values('layerNormBackward', [dy, x, mean, rstd, w], {}, [whole, f32(100), f32(100)]),
    ...t.values('softmax', [x], {}, [whole]),
    ...t.values('sum', [x], { axes: [0], keepDims: false }, [f32(100)]),
    ...t.values('sum', [x], { axes: [0, 1], keepDims: false }, [f32()]),
    ...t.values('linearBackwardWeights', [dy, x], { bias: true }, [f32(100, 100), f32(100)]),
  ];
}

test('rows and reductions have the same bits on 1, 2 and 3 threads', async () => {
  const results: Float64Array[][] = [];
  for (const threads of [1, 2, 3]) {
    await withBackend(threads, (t) => {
      results.push(runAll(t));
    });
  }
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
});

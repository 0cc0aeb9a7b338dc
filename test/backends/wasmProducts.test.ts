import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { erf } from '../../core/expr.js';
import { broadcastShapes, sizeOf } from '../../core/layout.js';
import { close, f32, normal, random, SCATTERS, withBackend } from './wasmHelpers.js';

const phi = (x: number): number => 0.5 * (1 + erf(x * Math.SQRT1_2));
const gelu = (x: number): number => x * phi(x);
const geluSlope = (x: number): number => phi(x) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);

/** C[b] = A[b] B[b] in float64, batch axes broadcast. */
function product(a: Float64Array, aShape: number[], b: Float64Array, bShape: number[], batch: number[]): Float64Array {
  const [m, k] = aShape.slice(-2);
  const n = bShape[bShape.length - 1];
  const out = new Float64Array(sizeOf(batch) * m * n);
  const place = (shape: number[], index: number): number => {
    let rest = index;
    let at = 0;
    let step = 1;
    for (let i = batch.length - 1; i >= 0; i--) {
      const axis = i - (batch.length - (shape.length - 2));
      const position = rest % batch[i];
      rest = Math.floor(rest / batch[i]);
      if (axis < 0) continue;
      if (shape[axis] !== 1) at += position * step;
      step *= shape[axis];
    }
    return at;
  };
  for (let g = 0; g < sizeOf(batch); g++) {
    const pa = place(aShape, g) * m * k;
    const pb = place(bShape, g) * k * n;
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) sum += a[pa + i * k + l] * b[pb + l * n + j];
        out[g * m * n + i * n + j] = sum;
      }
  }
  return out;
}

const size = fc.constantFrom(0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 31, 37);
const batches = fc.constantFrom<[number[], number[]]>(
  [[], []],
  [[3], [3]],
  [[3], []],
  [[], [2]],
  [[2, 3], [3]],
  [
    [2, 1],
    [1, 3],
  ],
  [[1], [2]],
);

test('matmul of any strides and batches equals the plain loop', async () => {
  for (const threads of [1, 2]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(
          batches,
          size,
          size,
          size,
          fc.constantFrom(...SCATTERS),
          fc.constantFrom(...SCATTERS),
          fc.nat(),
          ([ba, bb], m, k, n, la, lb, seed) => {
            const next = random(seed);
            const [sa, sb] = [
              [...ba, m, k],
              [...bb, k, n],
            ];
            const [a, b] = [normal(sizeOf(sa), next), normal(sizeOf(sb), next)];
            const batch = broadcastShapes('test', ba, bb);
            const output = f32(...batch, m, n);
            const views = [t.scattered(sa, a, la), t.scattered(sb, b, lb)];
            if (k === 0) assert.equal(t.call('matmul', views, {}, [output]), null);
            else close(t.values('matmul', views, {}, [output])[0], product(a, sa, b, sb, batch), 1e-5);
            t.clear();
          },
        ),
        { numRuns: 200 },
      );
    });
  }
});

test('matmul over several blocks of the inner index and many chunks', async () => {
  await withBackend(2, (t) => {
    const next = random(5);
    for (const [m, k, n] of [
      [70, 777, 130],
      [300, 257, 65],
      [9, 1030, 9],
    ]) {
      const [a, b] = [normal(m * k, next), normal(k * n, next)];
      const got = t.values('matmul', [t.array([m, k], a), t.array([k, n], b)], {}, [f32(m, n)])[0];
      close(got, product(a, [m, k], b, [k, n], []), 4e-6 * Math.sqrt(k));
    }
  });
});

test('linear: bias, GELU, its kept slope and residual, few rows and many', async () => {
  await withBackend(2, (t) => {
    fc.assert(
      fc.property(
        size,
        size,
        size,
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        fc.nat(),
        (m, k, n, hasBias, hasResidual, active, keep, seed) => {
          fc.pre(k > 0);
          const next = random(seed);
          const [x, w, bias, residual] = [m * k, n * k, n, m * n].map((c) => normal(c, next));
          const z = product(x, [m, k], transpose(w, n, k), [k, n], []).map((v, i) => v + (hasBias ? bias[i % n] : 0));
          const y = z.map((v, i) => (active ? gelu(v) : v) + (hasResidual ? residual[i] : 0));
          const outputs = active && keep ? [f32(m, n), f32(m, n)] : [f32(m, n)];
          const inputs = [
            t.array([m, k], x),
            t.array([n, k], w),
            hasBias ? t.array([n], bias) : null,
            hasResidual ? t.array([m, n], residual) : null,
          ];
          const got = t.values('linear', inputs, { activation: active ? 'gelu' : 'none', keep }, outputs);
          close(got[0], y, 1e-5, 'y');
          if (got[1]) close(got[1], z.map(geluSlope), 1e-5, 'slope');
          t.clear();
        },
      ),
      { numRuns: 200 },
    );
  });
});

test('the GELU of a product and its slope are accurate to 3e-7 of max(1, |x|)', async () => {
  await withBackend(1, (t) => {
    const x = Float64Array.from({ length: 40_001 }, (_, i) => Math.fround(i / 2000 - 10));
    const inputs = [t.array([x.length, 1], x), t.array([1, 1], new Float64Array([1])), null, null];
    const outputs = [f32(x.length, 1), f32(x.length, 1)];
    const [value, slope] = t.values('linear', inputs, { activation: 'gelu', keep: true }, outputs);
    x.forEach((v, i) => {
      const bound = 3e-7 * Math.max(1, Math.abs(v));
      assert.ok(Math.abs(value[i] - gelu(v)) <= bound, `gelu(${v}) = ${value[i]}`);
      assert.ok(Math.abs(slope[i] - geluSlope(v)) <= bound, `the slope of gelu at ${v} is ${slope[i]}`);
    });
  });
});

function transpose(x: Float64Array, rows: number, columns: number): Float64Array {
  return x.map((_, i) => x[(i % rows) * columns + Math.floor(i / rows)]);
}

test('products have the same bits on 1, 2 and 3 threads', async () => {
  const results: Float64Array[][] = [];
  for (const threads of [1, 2, 3]) {
    await withBackend(threads, (t) => {
      const next = random(9);
      const x = t.array([197, 300], normal(197 * 300, next));
      const w = t.array([500, 300], normal(500 * 300, next));
      const bias = t.array([500], normal(500, next));
      const few = { ...x, shape: [3, 300] };
      results.push([
        ...t.values('linear', [x, w, bias, null], { activation: 'gelu', keep: true }, [f32(197, 500), f32(197, 500)]),
        ...t.values('linear', [few, w, bias, null], { activation: 'none', keep: false }, [f32(3, 500)]),
      ]);
    });
  }
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
});

test('NaN and Infinity pass through a product', async () => {
  await withBackend(1, (t) => {
    const values = new Float64Array(20 * 20).fill(1);
    values[0] = Number.NaN;
    values[20] = Infinity;
    const ones = t.array([20, 20], new Float64Array(400).fill(1));
    const [y] = t.values('matmul', [t.array([20, 20], values), ones], {}, [f32(20, 20)]);
    assert.ok(Number.isNaN(y[0]) && Number.isNaN(y[19]));
    assert.equal(y[25], Infinity);
    assert.equal(y[45], 20);
  });
});

/** Rows l of each [L, width] for which `take` holds, side by side. */
function takeRows(x: Float64Array, L: number, width: number, take: (l: number) => boolean): Float64Array {
  return x.filter((_, i) => take(Math.floor(i / width) % L));
}

test('linearBackwardWeights and the three multiwayLinear kernels', async () => {
  await withBackend(2, (t) => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 3),
        fc.constantFrom(2, 3, 9, 20),
        fc.nat(),
        fc.constantFrom(1, 5, 12, 19, 35),
        fc.constantFrom(1, 4, 9, 16, 21, 37),
        fc.boolean(),
        fc.nat(),
        (B, L, cut, k, n, active, seed) => {
          const split = 1 + (cut % (L - 1));
          const next = random(seed);
          const [x, dz, residual] = [B * L * k, B * L * n, B * L * n].map((c) => normal(c, next));
          const [wA, wB] = [normal(n * k, next), normal(n * k, next)];
          const [bA, bB] = [normal(n, next), normal(n, next)];
          const sides = [(l: number) => l < split, (l: number) => l >= split];
          const [vx, vdz, vres, va, vb] = [
            t.array([B, L, k], x),
            t.array([B, L, n], dz),
            t.array([B, L, n], residual),
            t.array([n, k], wA),
            t.array([n, k], wB),
          ];
          const dw = sides.map((side) => {
            const [g, r] = [takeRows(dz, L, n, side), takeRows(x, L, k, side)];
            return product(transpose(g, g.length / n, n), [n, g.length / n], r, [g.length / n, k], []);
          });
          const db = sides.map((side) => {
            const out = new Float64Array(n);
            takeRows(dz, L, n, side).forEach((v, i) => {
              out[i % n] += v;
            });
            return out;
          });
          const weights = t.values('multiwayLinearBackwardWeights', [vdz, vx], { split, bias: true }, [
            f32(n, k),
            f32(n, k),
            f32(n),
            f32(n),
          ]);
          [...dw, ...db].forEach((want, i) => {
            close(weights[i], want, 1e-5, `weights ${i}`);
          });
          const all = t.values('linearBackwardWeights', [vdz, vx], { bias: true }, [f32(n, k), f32(n)]);
          close(
            all[0],
            dw[0].map((v, i) => v + dw[1][i]),
            1e-5,
            'dw',
          );
          close(
            all[1],
            db[0].map((v, i) => v + db[1][i]),
            1e-5,
            'db',
          );

          const useA = (i: number, width: number): boolean => Math.floor(i / width) % L < split;
          const dxA = product(dz, [B * L, n], wA, [n, k], []);
          const dxB = product(dz, [B * L, n], wB, [n, k], []);
          const dx = t.values('multiwayLinearBackwardInput', [vdz, va, vb], { split }, [f32(B, L, k)])[0];
          close(
            dx,
            dxA.map((v, i) => (useA(i, k) ? v : dxB[i])),
            1e-5,
            'dx',
          );

          const zA = product(x, [B * L, k], transpose(wA, n, k), [k, n], []);
          const zB = product(x, [B * L, k], transpose(wB, n, k), [k, n], []);
          const z = zA.map((v, i) => (useA(i, n) ? v + bA[i % n] : zB[i] + bB[i % n]));
          const y = z.map((v, i) => (active ? gelu(v) : v) + residual[i]);
          const attrs = { split, activation: active ? 'gelu' : 'none', keep: active };
          const inputs = [vx, va, t.array([n], bA), vb, t.array([n], bB), vres];
          const outputs = active ? [f32(B, L, n), f32(B, L, n)] : [f32(B, L, n)];
          const got = t.values('multiwayLinear', inputs, attrs, outputs);
          close(got[0], y, 1e-5, 'y');
          if (active) close(got[1], z.map(geluSlope), 1e-5, 'slope');
          t.clear();
        },
      ),
      { numRuns: 80 },
    );
  });
});

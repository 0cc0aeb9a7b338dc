import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { View } from '../../core/backend.js';
import { type Bench, close, f32, normal, random, withBackend } from './wasmHelpers.js';

interface Case {
  B: number;
  H: number;
  Lq: number;
  Lk: number;
  d: number;
  scale: number;
  q: Float64Array;
  k: Float64Array;
  v: Float64Array;
  dy: Float64Array;
  padding: Float64Array | null;
  bias: Float64Array | null;
}

/** Attention and its gradients for all-f64 arrays [B, L, H, d]; bias is [B, H, Lq, Lk]. */
function plain({ B, H, Lq, Lk, d, scale, q, k, v, dy, padding, bias }: Case) {
  const o = new Float64Array(q.length);
  const lse = new Float64Array(B * H * Lq);
  const [dq, dk, dv] = [new Float64Array(q.length), new Float64Array(k.length), new Float64Array(v.length)];
  const dbias = new Float64Array(B * H * Lq * Lk);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let i = 0; i < Lq; i++) {
        const row = ((b * H + h) * Lq + i) * Lk;
        const at = (L: number, l: number): number => ((b * L + l) * H + h) * d;
        const dot = (x: Float64Array, px: number, y: Float64Array, py: number): number => {
          let sum = 0;
          for (let j = 0; j < d; j++) sum += x[px + j] * y[py + j];
          return sum;
        };
        const s = Array.from({ length: Lk }, (_, j) =>
          padding?.[b * Lk + j] ? -Infinity : scale * dot(q, at(Lq, i), k, at(Lk, j)) + (bias?.[row + j] ?? 0),
        );
        const top = Math.max(...s);
        const shift = top === -Infinity ? 0 : top;
        const total = s.reduce((n, x) => n + Math.exp(x - shift), 0) || 1;
        lse[(b * H + h) * Lq + i] = shift + Math.log(total);
        const p = s.map((x) => Math.exp(x - shift) / total);
        for (let j = 0; j < Lk; j++) for (let c = 0; c < d; c++) o[at(Lq, i) + c] += p[j] * v[at(Lk, j) + c];
        const delta = dot(dy, at(Lq, i), o, at(Lq, i));
        for (let j = 0; j < Lk; j++) {
          const ds = p[j] * (dot(dy, at(Lq, i), v, at(Lk, j)) - delta);
          dbias[row + j] = ds;
          for (let c = 0; c < d; c++) {
            dq[at(Lq, i) + c] += scale * ds * k[at(Lk, j) + c];
            dk[at(Lk, j) + c] += scale * ds * q[at(Lq, i) + c];
            dv[at(Lk, j) + c] += p[j] * dy[at(Lq, i) + c];
          }
        }
      }
  return { o, lse, dq, dk, dv, dbias };
}

const cases = fc
  .tuple(
    fc.constantFrom(1, 2),
    fc.constantFrom(1, 3),
    fc.constantFrom(1, 2, 5, 8, 9, 17, 66, 130),
    fc.constantFrom(1, 2, 3, 4, 7, 8, 13, 33, 261),
    fc.constantFrom(1, 4, 5, 8, 12, 16),
    fc.boolean(),
    fc.boolean(),
    fc.nat(),
  )
  .map(([B, H, Lq, Lk, d, masked, biased, seed]): Case => {
    const next = random(seed);
    const [q, dy] = [normal(B * Lq * H * d, next), normal(B * Lq * H * d, next)];
    const [k, v] = [normal(B * Lk * H * d, next), normal(B * Lk * H * d, next)];
    const padding = masked ? Float64Array.from({ length: B * Lk }, () => (next() < 0.3 ? 1 : 0)) : null;
    const full = biased ? normal(B * H * Lq * Lk, next) : null;
    const bias = full && seed % 2 ? full.map((x) => (next() < 0.2 ? -Infinity : x)) : full;
    return { B, H, Lq, Lk, d, scale: 0.4, q, k, v, dy, padding, bias };
  });

/** q, k, v as slices of one [B, L, 3, H, d] array where lengths agree, else contiguous. */
function operands(t: Bench, c: Case): View[] {
  const shape = (L: number): number[] => [c.B, L, c.H, c.d];
  if (c.Lq !== c.Lk) return [t.array(shape(c.Lq), c.q), t.array(shape(c.Lk), c.k), t.array(shape(c.Lk), c.v)];
  const whole = t.empty([c.B, c.Lq, 3, c.H, c.d]);
  return [c.q, c.k, c.v].map((values, i) => {
    const [b, l, part, h, step] = whole.strides;
    const view = { ...whole, shape: shape(c.Lq), strides: [b, l, h, step], offset: i * part };
    t.store(view, values);
    return view;
  });
}

function both(t: Bench, c: Case) {
  const [q, k, v] = operands(t, c);
  const padding = c.padding && t.array([c.B, c.Lk], c.padding, 'bool');
  const bias = c.bias && t.array([c.B, c.H, c.Lq, c.Lk], c.bias);
  const attrs = { scale: c.scale, dropout: 0, seed: 0, counter: 0 };
  const outputs = [f32(c.B, c.Lq, c.H, c.d), f32(c.B, c.H, c.Lq)];
  const made = t.call('attention', [q, k, v, padding, bias], attrs, outputs) as View[];
  const dy = t.array([c.B, c.Lq, c.H, c.d], c.dy);
  const gradients = [f32(...q.shape), f32(...k.shape), f32(...v.shape), f32(c.B, c.H, c.Lq, c.Lk)];
  const back = t.values(
    'attentionBackward',
    [dy, q, k, v, ...made, padding, bias],
    { ...attrs, biasGrad: true },
    gradients,
  );
  return [...made.map((x) => t.load(x)), ...back];
}

test('attention and its gradients equal the plain loop, with padding, bias and sliced operands', async () => {
  for (const threads of [1, 2]) {
    await withBackend(threads, (t) => {
      fc.assert(
        fc.property(cases, (c) => {
          const want = plain(c);
          const got = both(t, c);
          [want.o, want.lse, want.dq, want.dk, want.dv, want.dbias].forEach((w, i) => {
            close(got[i], w, 2e-5, ['o', 'lse', 'dq', 'dk', 'dv', 'dbias'][i]);
          });
          t.clear();
        }),
        { numRuns: 80 },
      );
    });
  }
});

test('a query without any key gives zeros and no NaN', async () => {
  await withBackend(1, (t) => {
    const next = random(1);
    const [q, k, v] = [0, 1, 2].map(() => normal(3 * 4, next));
    const c: Case = {
      B: 1,
      H: 1,
      Lq: 3,
      Lk: 3,
      d: 4,
      scale: 1,
      q,
      k,
      v,
      dy: q,
      padding: new Float64Array(3).fill(1),
      bias: null,
    };
    for (const x of both(t, c)) assert.ok(x.every((value) => value === 0));
  });
});

test('a bias shared by heads and batch elements', async () => {
  await withBackend(1, (t) => {
    const next = random(2);
    const [B, H, L, d] = [2, 3, 10, 8];
    const [q, k, v] = [0, 1, 2].map(() => normal(B * L * H * d, next));
    const causal = Float64Array.from({ length: L * L }, (_, i) => (i % L > Math.floor(i / L) ? -Infinity : 0));
    const bias = Float64Array.from({ length: B * H * L * L }, (_, i) => causal[i % (L * L)]);
    const want = plain({ B, H, Lq: L, Lk: L, d, scale: 0.3, q, k, v, dy: q, padding: null, bias });
    const views = [q, k, v].map((x) => t.array([B, L, H, d], x));
    const attrs = { scale: 0.3, dropout: 0, seed: 0, counter: 0 };
    const [o] = t.values('attention', [...views, null, t.array([L, L], causal)], attrs, [
      f32(B, L, H, d),
      f32(B, H, L),
    ]);
    close(o, want.o, 1e-6);
  });
});

test('attention has the same bits on 1, 2 and 3 threads', async () => {
  const results: Float64Array[][] = [];
  const next = random(3);
  const [B, H, L, d] = [1, 4, 101, 16];
  const arrays = [0, 1, 2, 3].map(() => normal(B * L * H * d, next));
  for (const threads of [1, 2, 3]) {
    await withBackend(threads, (t) => {
      const [q, k, v, dy] = arrays;
      results.push(both(t, { B, H, Lq: L, Lk: L, d, scale: 0.25, q, k, v, dy, padding: null, bias: null }));
    });
  }
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
});

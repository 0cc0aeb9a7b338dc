/** Fused ops against the same functions written with primitive ops, values and gradients. */
import assert from 'node:assert/strict';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import {
  add,
  affine,
  attention,
  cast,
  cat,
  crossEntropy,
  div,
  dropout,
  gather,
  gelu,
  layerNorm,
  linear,
  logSoftmax,
  maskedFill,
  matmul,
  mean,
  mul,
  multiwayLayerNorm,
  multiwayLinear,
  ones,
  permute,
  reshape,
  scaledDotProductAttention,
  slice,
  softmax,
  sqrt,
  square,
  sub,
  transpose,
  tril,
  zeros,
} from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testEach } from '../support/backends.js';
import { close, closeAll, differentiate, random, read } from './fusedSupport.js';

type Leaves = Readonly<Record<string, Tensor>>;

/** The same result and gradients from two functions of the same leaves. */
async function same(
  shapes: Record<string, readonly number[]>,
  a: (x: Leaves) => Tensor,
  b: (x: Leaves) => Tensor,
  tolerance = 2e-5,
): Promise<void> {
  const leaves = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, random(shape)]));
  const upstream = scope(() => random(noGrad(() => b(leaves)).shape));
  try {
    const got = await read(() => differentiate(leaves, a, upstream));
    const wanted = await read(() => differentiate(leaves, b, upstream));
    closeAll(got, wanted, tolerance);
  } finally {
    for (const t of [...Object.values(leaves), upstream]) t.dispose();
  }
}

const plainLinear = (x: Tensor, w: Tensor, b: Tensor) => add(matmul(x, transpose(w)), b);

function plainNorm(x: Tensor, w: Tensor, b: Tensor, eps: number): Tensor {
  const centred = sub(x, mean(x, -1, true));
  return add(mul(div(centred, sqrt(affine(mean(square(centred), -1, true), 1, eps))), w), b);
}

testEach('linear equals its parts', async () => {
  for (const [rows, K, N] of [
    [7, 5, 3],
    [1, 16, 8],
    [33, 20, 17],
    [0, 4, 4],
  ]) {
    const shapes = { x: [2, rows, K], w: [N, K], b: [N], r: [2, rows, N] };
    await same(
      shapes,
      ({ x, w, b, r }) => linear(x, w, b, { residual: r }),
      ({ x, w, b, r }) => add(plainLinear(x, w, b), r),
    );
    await same(
      shapes,
      ({ x, w, b, r }) => linear(x, w, b, { activation: 'gelu', residual: r }),
      ({ x, w, b, r }) => add(gelu(plainLinear(x, w, b)), r),
    );
  }
  // Views as operands.
  await same(
    { x: [6, 9], w: [6, 4], b: [8] },
    ({ x, w, b }) => linear(transpose(x), transpose(w), slice(b, 0, 0, 8, 2), { activation: 'gelu' }),
    ({ x, w, b }) => gelu(add(matmul(transpose(x), w), slice(b, 0, 0, 8, 2))),
  );
});

testEach('multiway ops equal two ops and a join', async () => {
  const ways = { wA: [6, 5], bA: [6], wB: [6, 5], bB: [6] };
  for (const split of [1, 4, 6]) {
    const parts = (x: Tensor) => [slice(x, 1, 0, split), slice(x, 1, split)];
    await same(
      { x: [3, 7, 5], ...ways, r: [3, 7, 6] },
      ({ x, wA, bA, wB, bB, r }) =>
        multiwayLinear(x, { A: { weight: wA, bias: bA }, B: { weight: wB, bias: bB } }, split, {
          activation: 'gelu',
          residual: r,
        }),
      ({ x, wA, bA, wB, bB, r }) => {
        const [before, after] = parts(x);
        return add(gelu(cat([plainLinear(before, wA, bA), plainLinear(after, wB, bB)], 1)), r);
      },
    );
    await same(
      { x: [3, 7, 5], wA: [5], bA: [5], wB: [5], bB: [5] },
      ({ x, wA, bA, wB, bB }) =>
        multiwayLayerNorm(x, { weight: wA, bias: bA }, { weight: wB, bias: bB }, split, { eps: 1e-3 }),
      ({ x, wA, bA, wB, bB }) => {
        const [before, after] = parts(x);
        return cat([plainNorm(before, wA, bA, 1e-3), plainNorm(after, wB, bB, 1e-3)], 1);
      },
    );
  }
});

testEach('multiway ops at the ends are one op', async () => {
  const got = await read(() => {
    const x = random([2, 4, 3]);
    const [wA, wB] = [random([5, 3]), random([5, 3])];
    const ways = { A: { weight: wA, bias: null }, B: { weight: wB, bias: null } };
    const at = (split: number) => multiwayLinear(x, ways, split);
    return { all: at(-1), past: at(4), none: at(0), A: linear(x, wA), B: linear(x, wB) };
  });
  assert.deepEqual(got.all, got.A);
  assert.deepEqual(got.past, got.A);
  assert.deepEqual(got.none, got.B);
});

testEach('layerNorm equals its parts, also far from 0', async () => {
  await same(
    { x: [4, 3, 33], w: [33], b: [33] },
    ({ x, w, b }) => layerNorm(x, w, b, { eps: 1e-2 }),
    ({ x, w, b }) => plainNorm(x, w, b, 1e-2),
  );
  const { y } = await read(() => ({ y: layerNorm(affine(tensor([[1, 2, 3, 4]]), 1, 1e4)) }));
  close(y, [-1.341635, -0.447212, 0.447212, 1.341635], 1e-4, 'y');
});

function plainAttention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, padding: Tensor | null): Tensor {
  const heads = (t: Tensor) => permute(t, [0, 2, 1, 3]);
  const s = add(affine(matmul(heads(q), transpose(heads(k))), 1 / Math.sqrt(q.shape[3]), 0), bias);
  const masked = padding ? maskedFill(s, reshape(padding, [padding.shape[0], 1, 1, -1]), Number.NEGATIVE_INFINITY) : s;
  return heads(matmul(softmax(masked), heads(v)));
}

testEach('attention equals its parts', async () => {
  const padding = tensor(
    [
      [0, 0, 0, 0, 0, 0, 0, 0, 0],
      [0, 1, 0, 0, 1, 0, 0, 1, 1],
    ],
    { dtype: 'bool' },
  );
  for (const bias of [[1], [9], [6, 9], [2, 1, 6, 9], [2, 3, 6, 9]]) {
    await same(
      { q: [2, 6, 3, 4], k: [2, 9, 3, 4], v: [2, 9, 3, 4], bias },
      ({ q, k, v, bias: b }) => attention(q, k, v, { bias: b, keyPadding: padding }),
      ({ q, k, v, bias: b }) => plainAttention(q, k, v, b, padding),
    );
  }
  padding.dispose();
  for (const [Lq, Lk, d] of [
    [1, 1, 1],
    [1, 70, 16],
    [65, 67, 8],
    [3, 5, 33],
  ]) {
    await same(
      { q: [1, Lq, 2, d], k: [1, Lk, 2, d], v: [1, Lk, 2, d] },
      ({ q, k, v }) => attention(q, k, v),
      ({ q, k, v }) => plainAttention(q, k, v, zeros([1]), null),
    );
  }
});

testEach('attention does not overflow, and a query without keys gives zeros', async () => {
  const got = await read(() => {
    const q = affine(ones([1, 2, 1, 4]), 100, 0);
    const k = cat([affine(q, 1, 0), affine(q, -1, 0)], 1);
    const v = tensor([1, 2, 3, 4], { shape: [1, 4, 1, 1] });
    const wide = v.shape.with(3, 4);
    const values = add(v, zeros(wide));
    const padding = ones([1, 4], { dtype: 'bool' });
    return { open: attention(q, k, values), closed: attention(q, k, values, { keyPadding: padding }) };
  });
  close(got.open, new Array(8).fill(1.5), 1e-6, 'open');
  close(got.closed, new Array(8).fill(0), 0, 'closed');
});

testEach('scaledDotProductAttention takes masks of truth values and causal ones', async () => {
  const got = await read(() => {
    const [q, k, v] = [random([2, 3, 5, 4]), random([2, 3, 5, 4]), random([2, 3, 5, 4])];
    const lower = cast(tril(ones([5, 5])), 'bool');
    const hidden = maskedFill(
      zeros([5, 5]),
      cast(affine(cast(lower, 'float32'), -1, 1), 'bool'),
      Number.NEGATIVE_INFINITY,
    );
    return {
      causal: scaledDotProductAttention(q, k, v, { causal: true }),
      truth: scaledDotProductAttention(q, k, v, { mask: lower }),
      added: scaledDotProductAttention(q, k, v, { mask: hidden }),
      first: v.rank === 4 ? slice(v, 2, 0, 1) : v,
    };
  });
  close(got.truth, got.causal, 1e-6, 'truth');
  close(got.added, got.causal, 1e-6, 'added');
  // The first query sees the first value alone.
  close(got.causal.slice(0, 4), got.first.slice(0, 4), 1e-6, 'first');
});

testEach('dropout in attention thins the weights, and repeats from a seed', async () => {
  const got = await read(() => {
    const [q, k] = [random([1, 40, 2, 8]), random([1, 50, 2, 8])];
    const v = ones([1, 50, 2, 8]);
    const run = (seed: number) => attention(q, k, v, { dropout: 0.25, generator: new Generator(seed) });
    return {
      a: run(1),
      b: run(1),
      c: run(2),
      mean: mean(attention(q, k, v, { dropout: 0.25, generator: new Generator(4) })),
    };
  });
  assert.deepEqual(got.a, got.b);
  assert.notDeepEqual(got.a, got.c);
  // The weights of a row add up to 1 on average.
  close(got.mean, [1], 0.1, 'mean');
  // With one key per query, the weight is 0 or 1 / (1 - p), drawn as dropout draws.
  const single = await read(() => ({
    fused: attention(ones([1, 64, 1, 1]), ones([1, 1, 1, 1]), ones([1, 1, 1, 1]), {
      dropout: 0.5,
      generator: new Generator(7),
    }),
    plain: dropout(ones([64]), 0.5, { generator: new Generator(7) }),
  }));
  assert.deepEqual(single.fused, single.plain);
});

testEach('crossEntropy equals log-softmax at the target', async () => {
  const target = tensor(new Int32Array([4, 0, 7, 7, 2, 10]));
  await same(
    { x: [6, 11] },
    ({ x }) => crossEntropy(affine(x, 30, 0), target, { reduction: 'none' }),
    ({ x }) => affine(reshape(gather(logSoftmax(affine(x, 30, 0)), 1, reshape(target, [6, 1])), [6]), -1, 0),
    // A log-sum-exp of 60 in float32 is good to 4e-6, and the gradient is 30 times that.
    5e-4,
  );
  await same(
    { x: [6, 11] },
    ({ x }) => crossEntropy(x, target, { labelSmoothing: 0.3, reduction: 'none' }),
    ({ x }) => {
      const y = logSoftmax(x);
      const own = reshape(gather(y, 1, reshape(target, [6, 1])), [6]);
      return add(affine(own, -0.7, 0), affine(mean(y, 1), -0.3, 0));
    },
  );
  target.dispose();
});

testEach('crossEntropy of soft targets equals that of their classes', async () => {
  const got = await read(() => {
    const x = random([3, 4]);
    const soft = tensor([
      [0, 1, 0, 0],
      [0, 0, 0, 1],
      [1, 0, 0, 0],
    ]);
    const hard = tensor(new Int32Array([1, 3, 0]));
    const both = (options: object) => [crossEntropy(x, soft, options), crossEntropy(x, hard, options)];
    const [a, b] = both({});
    const [c, d] = both({ labelSmoothing: 0.1, reduction: 'sum' });
    const [e, f] = both({ reduction: 'none' });
    return { a, b, c, d, e, f };
  });
  close(got.a, got.b, 1e-5, 'mean');
  close(got.c, got.d, 1e-5, 'sum');
  close(got.e, got.f, 1e-5, 'none');
});

testEach('crossEntropy: ignored rows count nothing, unknown classes give NaN', async () => {
  const got = await read(() => {
    const x = random([2, 3]);
    const y = (...ids: number[]) => tensor(new Int32Array(ids));
    return {
      one: crossEntropy(x, y(1, -100)),
      alone: crossEntropy(slice(x, 0, 0, 1), y(1)),
      none: crossEntropy(x, y(-100, -100), { reduction: 'none' }),
      empty: crossEntropy(x, y(-100, -100)),
      outside: crossEntropy(x, y(1, 3), { reduction: 'none' }),
      below: crossEntropy(x, y(-1, 1), { reduction: 'none' }),
    };
  });
  close(got.one, got.alone, 1e-6, 'one');
  assert.deepEqual(got.none, [0, 0]);
  assert.ok(Number.isNaN(got.empty[0]));
  assert.ok(Number.isNaN(got.outside[1]) && !Number.isNaN(got.outside[0]));
  assert.ok(Number.isNaN(got.below[0]) && !Number.isNaN(got.below[1]));
});

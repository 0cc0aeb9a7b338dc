/** Fused ops with 16-bit operands, and with operands that do not fit. */
import assert from 'node:assert/strict';
import { backward } from '../../autograd/backward.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import {
  attention,
  cast,
  crossEntropy,
  layerNorm,
  linear,
  multiwayLayerNorm,
  multiwayLinear,
  reshape,
  scaledDotProductAttention,
  slice,
  sum,
  transpose,
  zeros,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testEach, withoutLeak } from '../support/backends.js';
import { close, random, read } from './fusedSupport.js';

testEach('16-bit operands are computed in float32 and rounded once', async () => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    const got = await read(() => {
      const half = (shape: number[]) => cast(random(shape), dtype);
      const [x, w, b] = [half([2, 9, 64]), half([32, 64]), half([32])];
      const wide = [x, w, b].map((t) => cast(t, 'float32'));
      const rounded = (t: Tensor) => cast(cast(t, dtype), 'float32');
      const y = linear(x, w, b, { activation: 'gelu' });
      const n = layerNorm(x);
      const q = reshape(x, [2, 9, 4, 16]);
      const o = attention(q, q, q);
      const target = tensor(new Int32Array([1, 2, 3, 4, 5, 6, 7, 8, 9]));
      const loss = crossEntropy(slice(x, 0, 0, 1), reshape(target, [1, 9]));
      assert.deepEqual([y.dtype, n.dtype, o.dtype, loss.dtype], [dtype, dtype, dtype, 'float32']);
      const q32 = cast(q, 'float32');
      return {
        y: cast(y, 'float32'),
        y32: rounded(linear(wide[0], wide[1], wide[2], { activation: 'gelu' })),
        n: cast(n, 'float32'),
        n32: rounded(layerNorm(wide[0])),
        o: cast(o, 'float32'),
        o32: rounded(attention(q32, q32, q32)),
        loss,
        loss32: crossEntropy(slice(wide[0], 0, 0, 1), reshape(target, [1, 9])),
      };
    });
    // A sum in another order may fall on the other side of a rounding boundary.
    const ulp = dtype === 'float16' ? 2 ** -10 : 2 ** -7;
    for (const name of ['y', 'n', 'o']) close(got[name], got[`${name}32`], ulp, `${dtype} ${name}`);
    close(got.loss, got.loss32, 1e-5, 'loss');
  }
});

testEach('gradients of 16-bit leaves have their dtype', async () => {
  await read(() => {
    const x = cast(random([3, 8]), 'float16')
      .detach()
      .requireGrad();
    const w = random([4, 8], true);
    backward(sum(linear(x, w, null, { activation: 'gelu' })));
    assert.equal(x.grad?.dtype, 'float16');
    assert.equal(w.grad?.dtype, 'float32');
    return {};
  });
});

testEach('operands that do not fit are refused', async () => {
  scope(() => {
    const x = random([2, 5, 4]);
    const w = random([3, 4]);
    const b = random([3]);
    const ways = { A: { weight: w, bias: b }, B: { weight: w, bias: b } };
    const cases: [RegExp, () => unknown][] = [
      [
        /\[linear\] expected x \[..., K\] and weight \[N, K\], got float32\[2, 5, 4\] and float32\[4, 3\]/,
        () => linear(x, transpose(w)),
      ],
      [/\[linear\] expected a bias of shape \[3\], got float32\[2\]/, () => linear(x, w, random([2]))],
      [/\[linear\] expected a residual/, () => linear(x, w, b, { residual: random([5, 3]) })],
      [/\[linear\] expected float operands, got int32/, () => linear(cast(x, 'int32'), w)],
      [/\[multiwayLinear\] expected a split of -1/, () => multiwayLinear(x, ways, -2)],
      [/\[multiwayLinear\] expected a split of -1/, () => multiwayLinear(x, ways, 1.5)],
      [/\[multiwayLinear\] expected x of shape \[B, L, D\]/, () => multiwayLinear(reshape(x, [10, 4]), ways, 20)],
      [
        /\[multiwayLinear\] expected two biases or none/,
        () => multiwayLinear(x, { ...ways, B: { weight: w, bias: null } }, 2),
      ],
      [
        /\[multiwayLinear\] expected weight B of shape \[3, 4\]/,
        () => multiwayLinear(x, { ...ways, B: { weight: random([4, 4]), bias: b } }, 2),
      ],
      [/\[layerNorm\] expected a weight or bias of shape \[4\]/, () => layerNorm(x, random([5]))],
      [/\[attention\] expected queries \[B, Lq, H, d\]/, () => attention(x, x, x)],
      [
        /\[attention\] expected key padding of shape \[2, 5\]/,
        () => {
          const q = reshape(x, [2, 5, 2, 2]);
          return attention(q, q, q, { keyPadding: zeros([2, 4], { dtype: 'bool' }) });
        },
      ],
      [
        /\[attention\] expected a bias that broadcasts to \[2, 2, 5, 5\]/,
        () => {
          const q = reshape(x, [2, 5, 2, 2]);
          return attention(q, q, q, { bias: zeros([3, 2, 2, 5, 5]) });
        },
      ],
      [/\[attention\] expected a dropout/, () => attention(x, x, x, { dropout: 1 })],
      [/\[crossEntropy\] expected logits/, () => crossEntropy(w, tensor(new Int32Array([1, 2])))],
      [
        /\[crossEntropy\] expected a label smoothing/,
        () => crossEntropy(w, tensor(new Int32Array([1, 2, 0])), { labelSmoothing: 2 }),
      ],
    ];
    for (const [message, run] of cases) {
      assert.throws(
        run,
        (e) => e instanceof OpError && message.test(e.message) && !/\n/.test(e.message),
        String(message),
      );
    }
  });
});

testEach('without a scope, nothing is left but the result', async () => {
  const x = random([2, 4, 6], true);
  const [w, b, g] = [random([6, 6], true), random([6], true), random([6], true)];
  const target = tensor(new Int32Array([1, 2, 3, 4, 5, 0, 1, 2]), { shape: [2, 4] });
  const q = reshape(x, [2, 4, 3, 2]);
  const linears = { A: { weight: w, bias: b }, B: { weight: w, bias: b } };
  const gains = { weight: g, bias: b };
  const calls = [
    () => linear(x, w, b, { activation: 'gelu' }),
    () => multiwayLinear(x, linears, 2, { activation: 'gelu' }),
    () => layerNorm(x, g, b),
    () => multiwayLayerNorm(x, gains, gains, 2),
    () => attention(q, q, q),
    () => crossEntropy(x, target),
    () => crossEntropy(x, target, { reduction: 'none' }),
    () => scaledDotProductAttention(q, q, q, { causal: true }),
  ];
  for (const fn of calls) {
    const run = () => fn().dispose();
    await withoutLeak(x.backend, run);
    await withoutLeak(x.backend, () => noGrad(run));
  }
  for (const t of [q, x, w, b, g, target]) t.dispose();
});

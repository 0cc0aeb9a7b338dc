/** Gradients of fused ops against central differences in float64. */
import assert from 'node:assert/strict';
import { backward } from '../../autograd/backward.js';
import { gradcheck } from '../../autograd/gradcheck.js';
import { call } from '../../core/dispatch.js';
import { isFloat } from '../../core/dtype.js';
import { scope } from '../../core/memory.js';
import { definedOps } from '../../core/op.js';
import {
  attention,
  crossEntropy,
  layerNorm,
  linear,
  mul,
  multiwayLayerNorm,
  multiwayLinear,
  scaledDotProductAttention,
  sum,
} from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testEach, testOn } from '../support/backends.js';
import { random64 } from './fusedSupport.js';

async function check(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Promise<void> {
  try {
    await gradcheck(fn, inputs);
  } finally {
    for (const t of inputs) t.dispose();
  }
}

testOn('reference', 'linear has the right gradients', async () => {
  await check(
    (x, w, b, residual) => linear(x, w, b, { activation: 'gelu', residual }),
    random64(2, 3, 4),
    random64(5, 4),
    random64(5),
    random64(2, 3, 5),
  );
  await check((x, w) => linear(x, w), random64(4), random64(5, 4));
  await check((x, w) => linear(x, w), random64(0, 4), random64(5, 4));
  // Each operand on its own: what the others would share is not there.
  for (const wanted of [0, 1, 2, 3]) {
    const operands = [random64(3, 4), random64(2, 4), random64(2), random64(3, 2)];
    operands.forEach((t, i) => void t.requireGrad(i === wanted));
    await check((x, w, b, residual) => linear(x, w, b, { activation: 'gelu', residual }), ...operands);
  }
});

testOn('reference', 'multiwayLinear has the right gradients', async () => {
  const parameters = () => [random64(3, 4), random64(3), random64(3, 4), random64(3)];
  const run = (split: number) => (x: Tensor, wA: Tensor, bA: Tensor, wB: Tensor, bB: Tensor, residual: Tensor) =>
    multiwayLinear(x, { A: { weight: wA, bias: bA }, B: { weight: wB, bias: bB } }, split, {
      activation: 'gelu',
      residual,
    });
  for (const split of [-1, 0, 1, 4, 5]) await check(run(split), random64(2, 5, 4), ...parameters(), random64(2, 5, 3));
  for (const wanted of [0, 1, 2, 3, 4, 5]) {
    const operands = [random64(2, 5, 4), ...parameters(), random64(2, 5, 3)];
    operands.forEach((t, i) => void t.requireGrad(i === wanted));
    await check(run(2), ...operands);
  }
  await check(
    (x, wA, wB) => multiwayLinear(x, { A: { weight: wA, bias: null }, B: { weight: wB, bias: null } }, 2),
    random64(1, 3, 4),
    random64(2, 4),
    random64(2, 4),
  );
});

testOn('reference', 'layerNorm and multiwayLayerNorm have the right gradients', async () => {
  await check((x, w, b) => layerNorm(x, w, b, { eps: 1e-3 }), random64(2, 3, 7), random64(7), random64(7));
  await check((x, w) => layerNorm(x, w), random64(3, 7), random64(7));
  await check((x, b) => layerNorm(x, null, b), random64(7), random64(7));
  await check((x) => layerNorm(x), random64(3, 4));
  for (const split of [-1, 0, 2, 5]) {
    await check(
      (x, wA, bA, wB, bB) => multiwayLayerNorm(x, { weight: wA, bias: bA }, { weight: wB, bias: bB }, split),
      random64(2, 5, 6),
      random64(6),
      random64(6),
      random64(6),
      random64(6),
    );
  }
});

testOn('reference', 'attention has the right gradients', async () => {
  const keyPadding = tensor(
    [
      [0, 0, 1, 0, 1],
      [1, 1, 1, 1, 1],
    ],
    { dtype: 'bool' },
  );
  const q = () => random64(2, 4, 3, 2);
  const k = () => random64(2, 5, 3, 2);
  await check((a, b, c) => attention(a, b, c), q(), k(), k());
  await check((a, b, c) => attention(a, b, c, { keyPadding, scale: 1.5 }), q(), k(), k());
  for (const shape of [[2, 3, 4, 5], [2, 1, 1, 5], [3, 1, 5], [4, 5], [1]]) {
    await check((a, b, c, bias) => attention(a, b, c, { keyPadding, bias }), q(), k(), k(), random64(...shape));
  }
  await check(
    (a, b, c, bias) => attention(a, b, c, { bias, dropout: 0.4, generator: new Generator(3) }),
    q(),
    k(),
    k(),
    random64(4, 5),
  );
  keyPadding.dispose();
  const mask = tensor([1, 0, 1, 1, 1], { dtype: 'bool' });
  const heads = (rows: number) => random64(2, 3, rows, 2);
  await check((a, b, c) => scaledDotProductAttention(a, b, c, { mask, causal: true }), heads(4), heads(5), heads(5));
  mask.dispose();
});

testOn('reference', 'crossEntropy has the right gradients', async () => {
  const target = tensor(new Int32Array([1, -100, 3, 0]));
  const grid = tensor(new Int32Array([1, 2, 2, 4]), { shape: [2, 2] });
  for (const reduction of ['mean', 'sum', 'none'] as const) {
    await check((x) => crossEntropy(x, target, { reduction }), random64(4, 5));
    await check((x) => crossEntropy(x, target, { reduction, labelSmoothing: 0.2 }), random64(4, 5));
    await check((x) => crossEntropy(x, grid, { reduction, ignoreIndex: 2 }), random64(2, 2, 5));
    await check((x, y) => crossEntropy(x, y, { reduction, labelSmoothing: 0.2 }), random64(4, 5), random64(4, 5));
  }
  target.dispose();
  grid.dispose();
});

const BACKWARD = [
  'linearBackwardWeights',
  'multiwayLinearBackwardInput',
  'multiwayLinearBackwardWeights',
  'layerNormBackward',
  'multiwayLayerNormBackward',
  'attentionBackward',
  'crossEntropyBackward',
];

testOn('reference', 'a second derivative of a fused op is refused, not wrong', async () => {
  for (const name of BACKWARD) {
    const op = definedOps().get(name);
    const sample = op?.samples?.()[0];
    assert.ok(op && sample, `${name} is defined and has samples`);
    scope(() => {
      const operands = sample.inputs.map((s) => {
        if (s === null) return null;
        const values = new Float32Array(s.shape.reduce((n, d) => n * d, 1)).fill(1);
        return tensor(values, { shape: s.shape, dtype: s.dtype, requiresGrad: isFloat(s.dtype ?? 'float32') });
      });
      const [y] = call(op, operands, sample.attrs);
      assert.throws(() => backward(sum(y)), /second derivatives of fused ops are not supported/, name);
    });
  }
});

testEach('attention to one key alone has no gradient for queries and keys, not even of rounding', async (backend) => {
  const random = new Generator(5);
  const leaf = (...shape: number[]) => {
    const values = random.uniform(shape.reduce((a, b) => a * b)).map((u) => 6 * u - 3);
    return tensor(values, { shape, backend });
  };
  const g = leaf(2, 3, 5, 7);
  const [q, k, v] = [leaf(2, 3, 5, 7), leaf(2, 1, 5, 7), leaf(2, 1, 5, 7)].map((t) => t.requireGrad());
  scope(() => backward(sum(mul(attention(q, k, v), g))));
  for (const t of [q, k]) assert.ok((await (t.grad as Tensor).data()).every((x) => Math.abs(Number(x)) === 0));
  for (const t of [q, k, v]) {
    t.grad?.dispose();
    t.dispose();
  }
  g.dispose();
});

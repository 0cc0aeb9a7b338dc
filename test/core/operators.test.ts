/** Every operator of PyTorch's reference numbers, value and gradients, on every backend. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { takeGrad } from '../../autograd/grad.js';
import {
  abs,
  affine,
  arange,
  avgPool2d,
  cat,
  clamp,
  conv2d,
  crossEntropy,
  cumsum,
  div,
  einsum,
  embedding,
  equal,
  erf,
  exp,
  expand,
  gather,
  gelu,
  greater,
  groupNorm,
  indexSelect,
  interpolate,
  layerNorm,
  linear,
  log,
  logSoftmax,
  logsumexp,
  maskedFill,
  matmul,
  max,
  maximum,
  mean,
  mul,
  normalize,
  outer,
  permute,
  pow,
  prod,
  relu,
  reshape,
  rsqrt,
  scaledDotProductAttention,
  sigmoid,
  slice,
  softmax,
  softplus,
  split,
  square,
  std,
  sum,
  tanh,
  topk,
  tril,
  variance,
  where,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { bceWithLogits, cosineSimilarity, klDiv, mseLoss } from '../../nn/losses.js';
import { readAll, testEach } from '../support/backends.js';
import { assertClose } from '../support/compare.js';
import { readTensors } from '../support/fixtures.js';
import { PYTORCH } from '../support/tolerance.js';

type Inputs = Readonly<Record<string, Tensor>>;
type Operator = (inputs: Inputs, output: Float32Array) => Tensor;

/** The function that each case of the file differentiates. */
const OPERATORS: Readonly<Record<string, Operator>> = {
  attention: ({ q, k, v }) => scaledDotProductAttention(q, k, v),
  attention_bias: ({ q, k, v, b }) => scaledDotProductAttention(q, k, v, { mask: b }),
  avg_pool: ({ x }) => avgPool2d(x, 2),
  bce_logits: ({ x, y }) => bceWithLogits(x, y),
  bicubic: ({ x }) => interpolate(x, { size: [7, 9], mode: 'bicubic' }),
  bilinear: ({ x }) => interpolate(x, { size: [7, 3], mode: 'bilinear' }),
  broadcast_mul: ({ a, b }) => mul(a, b),
  cat: ({ a, b }) => cat([a, b], 1),
  clamp: ({ x }) => clamp(x, { min: -0.5, max: 0.7 }),
  conv2d_pad: ({ x, w, b }) => conv2d(x, w, b, { stride: 2, padding: 1 }),
  conv2d_patch: ({ x, w, b }) => conv2d(x, w, b, { stride: 8 }),
  cosine: ({ x, y }) => affine(cosineSimilarity(x, y), -1, 1),
  cross_entropy: ({ x, y }) => crossEntropy(x, y),
  cross_entropy_ignore: ({ x, y }) => crossEntropy(x, y),
  cross_entropy_smooth: ({ x, y }) => crossEntropy(x, y, { labelSmoothing: 0.1 }),
  cross_entropy_soft: ({ x }) => {
    const target = tensor(
      Array.from({ length: 54 }, (_, i) => 3 * Math.sin(i)),
      { shape: [6, 9] },
    );
    return crossEntropy(x, softmax(target));
  },
  cumsum: ({ x }) => cumsum(x, 1),
  div: ({ a, b }) => div(a, b),
  einsum: ({ a, b }) => einsum('bhqd,bhkd->bhqk', a, b),
  embedding: ({ i, w }) => embedding(i, w),
  erf: ({ x }) => erf(x),
  exp: ({ x }) => exp(x),
  expand: ({ x }) => mul(expand(x, [4, 3, 5]), reshape(arange(1, 5, 1, { dtype: 'float32' }), [4, 1, 1])),
  gather: ({ x, i }) => gather(x, 1, i),
  gelu: ({ x }) => gelu(x),
  group_norm_like: ({ x }) => groupNorm(x, 1),
  index_select: ({ x, i }) => indexSelect(x, 0, i),
  kl_div: ({ x, y }) => sum(klDiv(logSoftmax(x), softmax(y), { reduction: 'none' }), -1),
  layer_norm: ({ x, w, b }) => layerNorm(x, w, b),
  linear: ({ x, w, b }) => linear(x, w, b),
  log_softmax: ({ x }) => logSoftmax(x),
  logsumexp: ({ x }) => logsumexp(x, -1),
  // The mask is not in the file: it lies where softmax gave 0.
  masked_fill: ({ x }, output) =>
    softmax(maskedFill(x, equal(tensor(output, { shape: x.shape }), 0), Number.NEGATIVE_INFINITY)),
  matmul_batched: ({ a, b }) => matmul(a, b),
  matmul_broadcast: ({ a, b }) => matmul(a, b),
  max_dim: ({ x }) => max(x, -1).values,
  maximum: ({ a, b }) => maximum(a, b),
  mean_dim: ({ x }) => mean(x, 1),
  mse: ({ x, y }) => mseLoss(x, y),
  normalize: ({ x }) => normalize(x),
  outer_chain: ({ a, b }) => mean(log(affine(relu(outer(a, b)), 1, 1))),
  permute_reshape: ({ x }) => mul(reshape(permute(x, [2, 0, 1]), [5, 12]), 2),
  pow: ({ x }) => pow(abs(x), 2.5),
  prod: ({ x }) => prod(x, -1),
  rsqrt: ({ x }) => rsqrt(affine(square(x), 1, 1)),
  sigmoid: ({ x }) => sigmoid(x),
  slice: ({ x }) => exp(slice(slice(x, 1, 1, undefined, 2), 2, 0, 4)),
  softmax: ({ x }) => softmax(x),
  softplus: ({ x }) => softplus(x),
  split: ({ x }) => tanh(split(x, [2, 3, 4], 1)[1]),
  std_all: ({ x }) => std(x),
  sum_keep: ({ x }) => sum(x, [0, 2], true),
  tanh: ({ x }) => tanh(x),
  topk: ({ x }) => topk(x, 3).values,
  tril: ({ x }) => tril(x),
  var_dim: ({ x }) => variance(x, -1, { correction: 0 }),
  where: ({ a, b }) => where(greater(a, b), mul(a, 2), mul(b, 3)),
};

const arrays = await readTensors('operators.safetensors');

test('every operator of the file is tested', () => {
  const names = new Set([...arrays.keys()].map((key) => key.split('/')[0]));
  assert.deepEqual(Object.keys(OPERATORS).sort(), [...names].sort());
  assert.equal(names.size, 57);
});

for (const [name, operator] of Object.entries(OPERATORS)) {
  testEach(`${name} is as in PyTorch`, async () => {
    const own = [...arrays].flatMap(([key, array]) => {
      const [op, ...rest] = key.split('/');
      return op === name ? [[rest.join('/'), array] as const] : [];
    });
    const wanted = new Map(own);
    const output = wanted.get('output')?.values as Float32Array;
    const got = await readAll(() => {
      const inputs: Record<string, Tensor> = {};
      const leaves: Record<string, Tensor> = {};
      for (const [key, { shape, values }] of own) {
        const [kind, input] = key.split('/');
        if (kind !== 'input') continue;
        const leaf = wanted.has(`grad/${input}`);
        inputs[input] = tensor(values, { shape, requiresGrad: leaf });
        if (leaf) leaves[`grad/${input}`] = inputs[input];
      }
      const result = operator(inputs, output);
      const upstream = wanted.get('upstream') as (typeof own)[0][1];
      backward(result, { gradient: tensor(upstream.values, { shape: upstream.shape }) });
      const grads = Object.entries(leaves).map(([key, leaf]) => [key, takeGrad(leaf) as Tensor]);
      return { output: result, ...Object.fromEntries(grads) } as Record<string, Tensor>;
    });
    for (const [key, { shape, data }] of Object.entries(got)) {
      const { shape: wantedShape, values } = wanted.get(key) as (typeof own)[0][1];
      assert.deepEqual([...shape], [...wantedShape], `${name}/${key}: shape`);
      assertClose(data, values, PYTORCH, `${name}/${key}`, shape);
    }
  });
}

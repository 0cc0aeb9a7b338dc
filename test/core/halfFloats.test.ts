/** 16-bit floats are storage: what is computed from them must not overflow where float32 does not. */
import assert from 'node:assert/strict';
import '../../index.js';
import type { DType } from '../../core/dtype.js';
import { full, logsumexp, mean, norm, normalize, std, sum, variance } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { bceWithLogits, cosineSimilarity, mseLoss } from '../../nn/losses.js';
import { readOne, testEach } from '../support/backends.js';

const HALF = ['float16', 'bfloat16'] as const;

const many = (value: number, dtype: DType, shape: readonly number[] = [100_000]) => full(shape, value, { dtype });
/** 100 and -100 in turn. */
const swing = (dtype: DType) =>
  tensor(
    Float32Array.from({ length: 10_000 }, (_, i) => (i % 2 ? 100 : -100)),
    { dtype },
  );

testEach('means, deviations and losses of many half floats are those of PyTorch', async () => {
  const results: readonly [string, (dtype: DType) => Tensor, number][] = [
    ['mean', (d) => mean(many(1, d)), 1],
    ['mean over an axis', (d) => mean(many(3, d, [2, 50_000]), 1), 3],
    ['variance', (d) => variance(swing(d)), 10_000],
    ['std', (d) => std(swing(d)), 100],
    ['norm', (d) => norm(many(300, d, [1000])), 9488],
    ['normalize', (d) => normalize(many(300, d, [4])), 0.5],
    ['logsumexp', (d) => logsumexp(many(1, d)), 12.5129],
    ['mseLoss', (d) => mseLoss(many(30, d), many(0, d)), 900],
    ['bceWithLogits', (d) => bceWithLogits(many(3, d), many(0, d)), 3.0486],
    ['cosineSimilarity', (d) => cosineSimilarity(many(300, d, [1, 4]), many(300, d, [1, 4])), 1],
    ['cosineSimilarity of zeros', (d) => cosineSimilarity(many(0, d, [1, 4]), many(300, d, [1, 4])), 0],
  ];
  for (const dtype of HALF) {
    const step = dtype === 'float16' ? 2 ** -10 : 2 ** -7;
    for (const [name, fn, wanted] of results) {
      const got = await readOne(() => fn(dtype));
      assert.equal(got.dtype, dtype, name);
      for (const value of Array.from(got.data)) {
        assert.ok(Math.abs(value - wanted) <= step * Math.abs(wanted), `${name} of ${dtype}: ${value}`);
      }
    }
  }
});

testEach('the gradient of a mean of half floats', async () => {
  for (const dtype of HALF) {
    const x = many(1, dtype).requireGrad();
    const loss = mean(x);
    loss.backward();
    loss.dispose();
    const g = x.grad as Tensor;
    assert.equal(g.dtype, dtype);
    const { data } = await readOne(() => sum(g));
    assert.ok(Math.abs(data[0] - 1) < 0.02, `${dtype}: ${data[0]}`);
    x.dispose();
  }
});

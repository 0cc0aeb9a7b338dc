/** Losses against PyTorch's numbers and the reference's own, with gradients. */
import assert from 'node:assert/strict';
import { gradcheck } from '../../autograd/gradcheck.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { affine, exp, logSoftmax, ones, softmax, sub, sum } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import * as functional from '../../nn/functional.js';
import {
  bceWithLogits,
  captioningLoss,
  contrastiveLoss,
  cosineSimilarity,
  crossEntropy,
  klDiv,
  mseLoss,
} from '../../nn/losses.js';
import { checkOperator, close, differentiate, operatorCase, random64, read } from '../core/fusedSupport.js';
import { testEach, testOn } from '../support/backends.js';
import { readJson } from '../support/fixtures.js';

interface Fixture {
  readonly captioning: {
    readonly logits: number[];
    readonly target: number[];
    readonly cases: readonly {
      readonly labelSmoothing: number;
      readonly dropWorstRatio: number;
      readonly dropWorstAfter: number;
      readonly step: number;
      readonly loss: number;
      readonly gradient: number[];
    }[];
  };
  readonly contrastive: {
    readonly image: number[];
    readonly text: number[];
    readonly scale: number;
    readonly loss: number;
    readonly grads: Readonly<Record<'image' | 'text' | 'scale', number[] | number>>;
  };
  readonly bce: { readonly x: number[]; readonly y: number[]; readonly loss: number[]; readonly gradient: number[] };
  readonly kl: Readonly<Record<'x' | 'y' | 'shape' | 'none' | 'sum' | 'mean', number[]>>;
}

testEach('losses are as in PyTorch', async () => {
  await checkOperator('bce_logits', ({ x, y }) => bceWithLogits(x, y));
  await checkOperator('mse', ({ x, y }) => mseLoss(x, y));
  await checkOperator('cosine', ({ x, y }) => affine(cosineSimilarity(x, y), -1, 1));
  await checkOperator('kl_div', ({ x, y }) => sum(klDiv(logSoftmax(x), softmax(y), { reduction: 'none' }), -1));
});

testEach('crossEntropy of soft targets is as in PyTorch', async () => {
  // The dump holds no targets, but they follow from the gradient: (softmax(x) - y) / N.
  const { inputs, upstream, expected, dispose } = await operatorCase('cross_entropy_soft');
  const got = await read(() => {
    const gradient = tensor(expected['grad/x'], { shape: inputs.x.shape });
    const y = sub(softmax(inputs.x), affine(gradient, 6, 0));
    return { loss: crossEntropy(inputs.x, y), total: sum(y, 1) };
  });
  const [factor] = Array.from(await upstream.data());
  dispose();
  close([factor], [1], 1e-6, 'the dump differentiates the loss itself');
  close(got.total, new Array(6).fill(1), 1e-5, 'targets are probabilities');
  close(got.loss, expected.output, 1e-5, 'loss');
});

testEach('bceWithLogits does not overflow', async ({ name }) => {
  const { bce } = await readJson<Fixture>('losses.json');
  const got = await read(() => {
    const [x, y] = [tensor(bce.x), tensor(bce.y)];
    return differentiate({ x }, (leaves) => bceWithLogits(leaves.x, y, { reduction: 'none' }), ones([5]));
  });
  close(got.output, bce.loss, 1e-6, 'loss');
  close(got['grad/x'], bce.gradient, 1e-6, 'gradient');
  // e^-90 is far below the rounding of 1, and must not be lost, except where numbers below 2^-126 are 0 (GPUs).
  assert.ok(name === 'webgpu' ? got.output[0] >= 0 : got.output[0] > 0);
});

testEach('klDiv: 0 log 0 is 0, and reductions are those of PyTorch', async () => {
  const { kl } = await readJson<Fixture>('losses.json');
  const got = await read(() => {
    const [x, y] = [tensor(kl.x, { shape: kl.shape }), tensor(kl.y, { shape: kl.shape })];
    const reduced = (reduction: 'none' | 'sum' | 'mean') => klDiv(x, y, { reduction });
    return { none: reduced('none'), sum: reduced('sum'), mean: reduced('mean'), default: klDiv(x, y) };
  });
  for (const reduction of ['none', 'sum', 'mean'] as const) close(got[reduction], kl[reduction], 1e-6, reduction);
  assert.deepEqual(got.default, got.mean);
});

testEach('the captioning loss is that of the reference', async () => {
  const { captioning } = await readJson<Fixture>('losses.json');
  const target = tensor(new Int32Array(captioning.target));
  const logits = tensor(captioning.logits, { shape: [11, 7] });
  for (const { loss, gradient, ...options } of captioning.cases) {
    const got = await read(() =>
      differentiate({ logits }, (leaves) => captioningLoss(leaves.logits, target, options), ones([])),
    );
    close(got.output, [loss], 1e-5, JSON.stringify(options));
    close(got['grad/logits'], gradient, 1e-5, `gradient ${JSON.stringify(options)}`);
  }
  const { one } = await read(() => ({
    one: captioningLoss(tensor([[1, 2, 3]]), tensor(new Int32Array([1])), { step: 1e9, dropWorstRatio: 0.9 }),
  }));
  assert.ok(Number.isFinite(one[0]), 'one token counts always');
  target.dispose();
  logits.dispose();
});

testEach('the contrastive loss is that of the reference', async () => {
  const { contrastive } = await readJson<Fixture>('losses.json');
  const got = await read(() => {
    const image = tensor(contrastive.image, { shape: [5, 4] });
    const text = tensor(contrastive.text, { shape: [5, 4] });
    const scale = tensor(contrastive.scale);
    return differentiate({ image, text, scale }, (x) => contrastiveLoss(x.image, x.text, exp(x.scale)), ones([]));
  });
  close(got.output, [contrastive.loss], 1e-5, 'loss');
  for (const [name, wanted] of Object.entries(contrastive.grads)) {
    close(got[`grad/${name}`], [wanted].flat(), 1e-5, `gradient of ${name}`);
  }
  const { fixed } = await read(() => ({
    fixed: contrastiveLoss(
      tensor(contrastive.image, { shape: [5, 4] }),
      tensor(contrastive.text, { shape: [5, 4] }),
      Math.exp(contrastive.scale),
    ),
  }));
  close(fixed, [contrastive.loss], 1e-5, 'loss with a number as scale');
});

testOn('reference', 'losses have the right gradients', async () => {
  const check = async (fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]) => {
    await gradcheck(fn, inputs);
    for (const t of inputs) t.dispose();
  };
  for (const reduction of ['mean', 'sum', 'none'] as const) {
    await check((x, y) => bceWithLogits(x, y, { reduction }), random64(3, 4), random64(3, 4));
    await check((x, y) => klDiv(x, softmax(y), { reduction }), random64(3, 4), random64(3, 4));
    await check((x, y) => mseLoss(x, y, { reduction }), random64(3, 4), random64(3, 4));
  }
  await check((x, y) => cosineSimilarity(x, y, { axis: 0 }), random64(3, 4), random64(3, 4));
  await check((x, y) => cosineSimilarity(x, y, { eps: 1e3 }), random64(3, 4), random64(4));
  await check((x, y, s) => contrastiveLoss(x, y, s), random64(3, 4), random64(3, 4), random64());
  const target = tensor(new Int32Array([1, 0, 3, 2, 2]));
  await check((x) => captioningLoss(x, target, { step: 7, dropWorstAfter: 5, dropWorstRatio: 0.5 }), random64(5, 4));
  target.dispose();
});

testEach('cosineSimilarity of nothing is 0', async () => {
  const got = await read(() =>
    differentiate({ x: tensor([[0, 0]]) }, ({ x }) => cosineSimilarity(x, ones([1, 2])), ones([1])),
  );
  assert.deepEqual(got.output, [0]);
  assert.ok(got['grad/x'].every(Number.isFinite));
});

testEach('losses refuse operands that do not fit', async () => {
  scope(() => {
    const [a, b] = [ones([2, 3]), ones([3])];
    const refused = (run: () => unknown, message: RegExp) =>
      assert.throws(run, (e) => e instanceof OpError && message.test(e.message));
    refused(
      () => bceWithLogits(a, b),
      /\[bceWithLogits\] expected operands of one shape, got float32\[2, 3\] and float32\[3\]/,
    );
    refused(() => mseLoss(a, b), /\[mseLoss\]/);
    refused(() => klDiv(a, b), /\[klDiv\]/);
    refused(() => contrastiveLoss(a, b, 1), /\[contrastiveLoss\]/);
    refused(() => captioningLoss(a, b, { labelSmoothing: 1 }), /\[captioningLoss\]/);
    refused(() => captioningLoss(a, tensor(new Int32Array([1]))), /\[crossEntropy\]/);
  });
});

testEach('nn/functional gives layers under their usual names', async () => {
  const { y, one } = await read(() => ({
    y: functional.layerNorm(
      functional.linear(
        tensor([[1, 2]]),
        tensor([
          [1, 0],
          [0, 1],
          [1, 1],
        ]),
      ),
    ),
    one: functional.oneHot(tensor(new Int32Array([1])), 3),
  }));
  close(y, [-1.22474, 0, 1.22474], 1e-4, 'y');
  assert.deepEqual(one, [0, 1, 0]);
});

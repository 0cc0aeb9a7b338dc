import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { parseConfig } from '../../beit3/config.js';
import type { RetrievalBatch } from '../../beit3/data/batch.js';
import { cachedContrastiveGradients } from '../../beit3/itc/cachedGradients.js';
import { ItcTask } from '../../beit3/itc/task.js';
import { trainingLoss } from '../../beit3/tasks/index.js';
import { imagesOf, paddingOf, textOf } from '../../beit3/tasks/inputs.js';
import { scope } from '../../core/memory.js';
import { cat, exp } from '../../core/ops/index.js';
import { defaultGenerator, manualSeed } from '../../core/random.js';
import { contrastiveLoss } from '../../nn/losses.js';
import type { Module } from '../../nn/module.js';
import { assertClose } from '../support/compare.js';
import { TINY, tinyBatch, tinyModel } from './tinyBatches.js';

const PAIRS = tinyBatch('retrieval', 12);

/** Pairs `from`..`to` of a batch. */
function part(batch: RetrievalBatch, from: number, to: number): RetrievalBatch {
  const [pixels, T] = [3 * batch.side ** 2, batch.length];
  return {
    ...batch,
    size: to - from,
    images: batch.images.slice(from * pixels, to * pixels),
    files: batch.files.slice(from, to),
    ids: batch.ids.slice(from * T, to * T),
    padding: batch.padding.slice(from * T, to * T),
    imageIds: batch.imageIds.slice(from, to),
  };
}

async function gradientsOf(model: Module): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const [name, p] of model.namedParameters()) if (p.grad) all.set(name, (await p.grad.data()) as Float32Array);
  return all;
}

describe('image-text contrastive tuning', async () => {
  const backend = await useBackend('wasm', { threads: 1 });
  after(() => disposeBackend('wasm'));

  it('has the gradients of the whole batch, whatever the chunks', async () => {
    const model = tinyModel('retrieval');
    const whole = trainingLoss('retrieval', model, PAIRS);
    backward(whole.loss);
    const wanted = await gradientsOf(model);
    assert.ok(wanted.has('logit_scale') && wanted.size > 20);
    for (const cuts of [
      [0, 12],
      [0, 4, 8, 12],
      [0, 5, 11, 12],
    ]) {
      model.zeroGrad();
      const chunks = cuts.slice(1).map((to, i) => part(PAIRS, cuts[i], to));
      const { loss, accuracy } = await cachedContrastiveGradients(model, chunks);
      assert.ok(Math.abs((await loss.item()) - (await whole.loss.item())) < 1e-5);
      const share = await accuracy.item();
      assert.ok(share >= 0 && share <= 1 && Math.abs(share * 12 - Math.round(share * 12)) < 1e-4);
      const got = await gradientsOf(model);
      assert.deepEqual([...got.keys()], [...wanted.keys()]);
      for (const [name, values] of wanted)
        assertClose(got.get(name) as Float32Array, values, { absolute: 2e-6, relative: 2e-4 }, name);
      loss.dispose();
      accuracy.dispose();
    }
    whole.loss.dispose();
    model.zeroGrad();
    model.dispose();
  });

  it('drops the same paths when a chunk is run again, and leaves the random numbers where one pass does', async () => {
    const chunks = [part(PAIRS, 0, 6), part(PAIRS, 6, 12)];
    const model = tinyModel('retrieval', { drop_path_rate: 0.5 });
    model.train();
    manualSeed(7);
    const cached = await cachedContrastiveGradients(model, chunks);
    const [loss, end] = [await cached.loss.item(), defaultGenerator().state()];
    const got = await gradientsOf(model);
    // The same pass with a graph of both chunks at once.
    model.zeroGrad();
    manualSeed(7);
    const plain = await plainLoss(model, chunks);
    assert.ok(Math.abs(plain - loss) < 1e-5, `${plain} ${loss}`);
    assert.deepEqual(defaultGenerator().state(), end);
    for (const [name, values] of await gradientsOf(model))
      assertClose(got.get(name) as Float32Array, values, { absolute: 2e-6, relative: 2e-4 }, name);
    cached.loss.dispose();
    cached.accuracy.dispose();
    model.zeroGrad();
    model.dispose();
  });

  it('learns pairs by heart in chunks, keeps the temperature in bounds and frees what it uses', async () => {
    const model = tinyModel('retrieval');
    const config = parseConfig(TINY, 'the test');
    const settings = {
      config,
      layerDecay: 0.95,
      weightDecay: 0.05,
      betas: [0.9, 0.98] as const,
      eps: 1e-8,
      clipGrad: 3,
    };
    const data = {
      next: async () => [part(PAIRS, 0, 6), part(PAIRS, 6, 12)],
      position: () => null,
      restore: async () => {},
      close: async () => {},
    };
    const task = new ItcTask(model, data, settings);
    let last: Readonly<Record<string, number>> = {};
    let live = 0;
    for (let step = 0; step < 40; step++) {
      last = await task.step(await data.next(), step, 3e-3);
      if (step === 1) live = backend.stats.liveBytes;
    }
    assert.equal(backend.stats.liveBytes, live);
    assert.ok(last.loss < 0.5 && last.acc > 0.9, JSON.stringify(last));
    assert.ok(last.logitScale <= 100.001 && last.gradNorm > 0);
    await task.step(await data.next(), 40, 1e4);
    const scale = await model.logit_scale.item();
    assert.ok(scale <= Math.log(100) + 1e-5 && scale >= -1e-5, `${scale}`);
    task.dispose();
    model.dispose();
  });
});

async function plainLoss(
  model: ReturnType<typeof tinyModel<'retrieval'>>,
  chunks: readonly RetrievalBatch[],
): Promise<number> {
  const { backend } = model.logit_scale;
  const loss = scope(() => {
    const images = [];
    const texts = [];
    for (const chunk of chunks) {
      images.push(model.embedImage(imagesOf(chunk, backend)));
      texts.push(model.embedText(textOf(chunk, model), paddingOf(chunk, backend)));
    }
    const loss = contrastiveLoss(cat(images, 0), cat(texts, 0), exp(model.logit_scale));
    backward(loss);
    return loss.detach();
  });
  const value = await loss.item();
  loss.dispose();
  return value;
}

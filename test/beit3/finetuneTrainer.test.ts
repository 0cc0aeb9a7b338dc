/** Single steps of the trainer. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { parseConfig } from '../../beit3/config.js';
import type { ClassificationBatch } from '../../beit3/data/batch.js';
import { beit3Subject } from '../../beit3/finetune/beit3Subject.js';
import { DEFAULTS, type Settings } from '../../beit3/finetune/settings.js';
import { Trainer } from '../../beit3/finetune/trainer.js';
import { createModel } from '../../beit3/heads/index.js';
import { NotFinite } from '../../beit3/training/notFinite.js';
import type { Backend } from '../../core/backend.js';
import { Generator } from '../../core/random.js';
import { Builder } from '../../nn/builder.js';

const SIZES = {
  encoder_embed_dim: 8,
  encoder_attention_heads: 1,
  encoder_ffn_embed_dim: 16,
  encoder_layers: 1,
  img_size: 16,
  patch_size: 8,
};
const spec = { task: 'imageclassification', config: parseConfig(SIZES, 'the test'), numClasses: 3 } as const;

/** The reference backend, as if it computed in float16: it rounds what it stores. */
let half: Backend;

before(async () => {
  const backend = await useBackend('reference');
  half = new Proxy(backend, {
    get: (target, key) => {
      if (key === 'caps') return { ...target.caps, storageOnly: new Set() };
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
});
after(() => disposeBackend('reference'));

function batchOf(brightness = 1): ClassificationBatch {
  const images = new Generator(3).normal(2 * 3 * 16 * 16).map((v) => v * brightness);
  return { size: 2, side: 16, images, files: ['a.png', 'b.png'], labels: Int32Array.of(0, 2), targets: null };
}

function trainerOf(settings: Partial<Settings>, backend?: Backend): Trainer<'imageclassification'> {
  const model = createModel(new Builder({ backend, generator: new Generator(1) }), spec, { initialisation: 'magneto' });
  return new Trainer(beit3Subject(spec, 'magneto'), model, { ...DEFAULTS, dropPath: 0, ...settings });
}

async function weights({ model }: Trainer<'imageclassification'>): Promise<unknown[]> {
  const all: unknown[] = [];
  for (const p of model.parameters()) all.push([...(await p.data())]);
  return all;
}

it('a step of mixed precision that overflows is left out, and the scale falls', async () => {
  const trainer = trainerOf({ amp: true, modelEma: true, modelEmaDecay: 0 }, half);
  trainer.scaler?.restore({ scale: 2 ** 127, growthTracker: 7 });
  const before = await weights(trainer);
  const skipped = await trainer.step(async () => batchOf(), 0, 1e-2);
  assert.equal(skipped.gradNorm, null);
  assert.equal(skipped.lossScale, 2 ** 127);
  assert.ok(Number.isFinite(skipped.loss));
  assert.deepEqual(await weights(trainer), before);
  assert.deepEqual(trainer.scaler?.state(), { scale: 2 ** 126, growthTracker: 0 });
  trainer.scaler?.restore({ scale: 2 ** 10, growthTracker: 0 });
  const made = await trainer.step(async () => batchOf(), 0, 1e-2);
  assert.ok((made.gradNorm ?? 0) > 0);
  assert.notDeepEqual(await weights(trainer), before);
  assert.equal(trainer.scaler?.state().growthTracker, 1);
  trainer.dispose();
  trainer.model.dispose();
});

it('the scale of the loss does not show in gradients', async () => {
  const norms: number[] = [];
  for (const scale of [1, 2 ** 12]) {
    const trainer = trainerOf({ amp: true, clipGrad: 1 }, half);
    trainer.scaler?.restore({ scale, growthTracker: 0 });
    norms.push((await trainer.step(async () => batchOf(), 0, 0)).gradNorm ?? 0);
    trainer.dispose();
    trainer.model.dispose();
  }
  assert.ok(Math.abs(norms[0] - norms[1]) < 0.02 * norms[0], `${norms}`);
});

it('a loss that is no number changes no weight, and names its pictures', async () => {
  const trainer = trainerOf({});
  const before = await weights(trainer);
  await assert.rejects(
    trainer.step(async () => batchOf(Number.NaN), 4, 1),
    (error: Error) => {
      assert.ok(error instanceof NotFinite);
      assert.equal(error.message, 'The loss is NaN at step 5');
      assert.deepEqual(error.files, ['a.png', 'b.png']);
      return true;
    },
  );
  assert.deepEqual(await weights(trainer), before);
  trainer.dispose();
  trainer.model.dispose();
});

it('the norm of the gradients is that before clipping, clipped or not', async () => {
  const norms: (number | null)[] = [];
  for (const clipGrad of [null, 1e-3]) {
    const trainer = trainerOf({ clipGrad });
    norms.push((await trainer.step(async () => batchOf(), 0, 1e-3)).gradNorm);
    trainer.dispose();
    trainer.model.dispose();
  }
  assert.equal(norms[0], norms[1]);
  assert.ok((norms[0] ?? 0) > 1e-2);
});

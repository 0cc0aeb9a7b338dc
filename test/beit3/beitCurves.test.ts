/** Training of BEiT and BEiT v2 beside PyTorch, and exports that the official classes load. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { makeFilled } from '../../beit3/checkpoint.js';
import { loadBeit } from '../../beit3/vit/checkpoint.js';
import { MaskedImageModel } from '../../beit3/vit/maskedImageModel.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { cat, reshape } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import {
  BEIT_SETTINGS,
  BEIT_STEPS,
  CLASSIFIER,
  classifierBatch,
  exportTinyBeit,
  maskedBatch,
  PRETRAINED,
  tinyClassifier,
  tinyPretrained,
  trainTinyClassifier,
  trainTinyPretrained,
} from '../reference/tinyBeit.js';
import { readJson } from '../support/fixtures.js';

/** What the official code found; written by test/reference/beit.py. */
interface Found {
  readonly losses: number[];
  readonly outputs: number[];
  readonly names: Record<string, number[]>;
}

let backend: Backend;
let folder = '';
let found: Record<'classifier' | 'pretrained', Found> & { readonly probe: readonly number[][] };

before(async () => {
  backend = await useBackend('wasm', { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'azulejo-beit-curves-'));
  found = await readJson('beit.json');
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await disposeBackend('wasm');
});

/** The largest relative difference of losses. */
function farthest(ours: readonly number[], theirs: readonly number[]): number {
  assert.equal(ours.length, theirs.length);
  return Math.max(...ours.map((loss, i) => Math.abs(loss - theirs[i]) / theirs[i]));
}

describe(`${BEIT_STEPS} steps of training beside PyTorch`, () => {
  it('fine-tuning with layer decay: the loss of every step', async () => {
    const live = backend.stats.liveBytes;
    const model = tinyClassifier(backend);
    const losses = await trainTinyClassifier(model);
    model.dispose();
    const far = farthest(losses, found.classifier.losses);
    assert.ok(far < 1e-4, `${far}`);
    assert.ok(losses[BEIT_STEPS - 1] < 0.9 * losses[0], 'nothing was learnt');
    assert.equal(backend.stats.liveBytes, live);
  });

  it('another decay from layer to layer shows', async () => {
    const model = tinyClassifier(backend);
    const losses = await trainTinyClassifier(model, { ...BEIT_SETTINGS, layerDecay: 0.74 });
    model.dispose();
    assert.ok(farthest(losses, found.classifier.losses) > 1e-4);
  });

  it('checkpointed activations give the same', async () => {
    const model = tinyClassifier(backend, { checkpoint_activations: true });
    const losses = await trainTinyClassifier(model);
    model.dispose();
    assert.ok(farthest(losses, found.classifier.losses) < 1e-4);
  });

  it('masked image modelling with [CLS]: the loss of every step', async () => {
    const live = backend.stats.liveBytes;
    const model = tinyPretrained(backend);
    const losses = await trainTinyPretrained(model);
    model.dispose();
    const far = farthest(losses, found.pretrained.losses);
    assert.ok(far < 1e-4, `${far}`);
    assert.equal(backend.stats.liveBytes, live);
  });
});

async function outputsOf(make: () => Tensor): Promise<number[]> {
  const made = noGrad(() => scope(make));
  const values = [...((await made.data()) as Float32Array)];
  made.dispose();
  return values;
}

function assertNear(ours: readonly number[], theirs: readonly number[], within = 1e-4): void {
  const far = Math.max(...theirs.map((v, i) => Math.abs(ours[i] - v)));
  assert.ok(far < within, `${far} away from PyTorch's`);
}

it('a linear probe sees of every layer what the official one sees', async () => {
  const { images, size, side } = classifierBatch(0);
  assert.equal(found.probe.length, CLASSIFIER.config.depth);
  for (const [i, seen] of found.probe.entries()) {
    const model = tinyClassifier(backend, { depth: i + 1 }, 'both').eval();
    const ours = await outputsOf(() => model.features(tensor(images, { shape: [size, 3, side, side] })));
    model.dispose();
    assert.equal(ours.length, size * 2 * CLASSIFIER.config.embed_dim);
    assertNear(ours, seen, 1e-5);
  }
});

describe('exports of BEiT and BEiT v2', () => {
  async function assertNames(file: string, names: Record<string, number[]>): Promise<void> {
    const checkpoint = await openCheckpoint(file);
    const shapes = Object.fromEntries([...checkpoint.tensors.values()].map(({ name, shape }) => [name, [...shape]]));
    await checkpoint.close();
    assert.deepEqual(shapes, names, file);
  }

  it('a classifier has the names and shapes of the official class, and its outputs', async () => {
    for (const file of await exportTinyBeit('classifier', folder, backend)) {
      await assertNames(file, found.classifier.names);
      const { model } = await loadBeit(file);
      const { images, size, side } = classifierBatch(BEIT_STEPS - 1);
      const ours = await outputsOf(() => model.forward(tensor(images, { shape: [size, 3, side, side] })));
      model.dispose();
      assertNear(ours, found.classifier.outputs);
    }
  });

  it('so has a pretrained model', async () => {
    for (const file of await exportTinyBeit('pretrained', folder, backend)) {
      await assertNames(file, found.pretrained.names);
      const checkpoint = await openCheckpoint(file);
      const make = (b: ConstructorParameters<typeof MaskedImageModel>[0]) =>
        new MaskedImageModel(b, PRETRAINED.config, PRETRAINED.pretraining!);
      const { model } = await makeFilled(make, checkpoint.tensors, file, { backend });
      await checkpoint.close();
      const { batch } = maskedBatch(BEIT_STEPS - 1);
      const { size, side, images, masked, predictPatches } = batch;
      const ours = await outputsOf(() => {
        const hidden = tensor(masked, { shape: [size, masked.length / size], dtype: 'bool' });
        const pixels = tensor(images, { shape: [size, 3, side, side] });
        const { logits, clsLogits } = model.eval().forward(pixels, hidden, tensor(predictPatches));
        return cat([reshape(logits, [-1]), reshape(clsLogits as Tensor, [-1])], 0);
      });
      model.dispose();
      assertNear(ours, found.pretrained.outputs);
    }
  });
});

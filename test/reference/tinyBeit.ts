/** A tiny BEiT and BEiT v2 that are trained for 20 steps, the same on every machine, and what they export. */
import { join } from 'node:path';
import { writableTensors } from '../../beit3/checkpoint.js';
import type { ClassificationBatch } from '../../beit3/data/batch.js';
import { beitSubject } from '../../beit3/finetune/beitSubject.js';
import { DEFAULTS, type Settings } from '../../beit3/finetune/settings.js';
import { Trainer } from '../../beit3/finetune/trainer.js';
import { exportMim } from '../../beit3/mim/mim.js';
import { MimTask } from '../../beit3/mim/task.js';
import type { MaskedImages } from '../../beit3/pretrain/batch.js';
import { blockMask } from '../../beit3/pretrain/masks.js';
import { exportWeights, trainedConfig } from '../../beit3/training/export.js';
import { parseViTConfig, type ViTConfig } from '../../beit3/vit/config.js';
import { MaskedImageModel, type MaskedImageModelOptions } from '../../beit3/vit/maskedImageModel.js';
import type { BeitSpec } from '../../beit3/vit/spec.js';
import { VisionTransformer } from '../../beit3/vit/visionTransformer.js';
import type { ImageTokenizer } from '../../beit3/vqkd/imageTokenizer.js';
import type { Backend } from '../../core/backend.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder, writeValues } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import { schedule } from '../../nn/schedules.js';
import { weightsOf } from './tiny.js';

export const BEIT_STEPS = 20;
const BATCH = 8;
const SIDE = 32;
const GRID = 4;
const CODES = 50;

const SIZES = {
  ...{ img_size: SIDE, patch_size: SIDE / GRID, embed_dim: 32, depth: 3, num_heads: 4 },
  ...{ init_values: 0.1, use_abs_pos_emb: false },
};

export const CLASSIFIER: BeitSpec = {
  config: parseViTConfig({ ...SIZES, use_rel_pos_bias: true }, 'the tiny BEiT'),
  classes: 10,
  pooling: 'mean',
  statistics: 'vl',
  pretraining: null,
};

const HIDDEN: MaskedImageModelOptions = {
  codes: CODES,
  aggregation: { earlyLayers: 2, headLayers: 1, sharedHead: true },
};

export const PRETRAINED: BeitSpec = {
  config: parseViTConfig({ ...SIZES, use_shared_rel_pos_bias: true }, 'the tiny BEiT v2'),
  classes: 0,
  pooling: 'cls',
  statistics: 'vl',
  pretraining: HIDDEN,
};

export const BEIT_SETTINGS: Settings = {
  ...DEFAULTS,
  dropPath: 0,
  layerDecay: 0.75,
  weightDecay: 0.05,
  optBetas: [0.9, 0.999],
  clipGrad: 1,
  labelSmoothing: 0.1,
};

/** The learning rate of every step. */
export const BEIT_RATES = schedule({ base: 2e-3, final: 1e-5, epochs: 1, stepsPerEpoch: BEIT_STEPS, warmupSteps: 4 });

/** Not those that models start with: the losses that PyTorch had are to hold whatever becomes of those. */
function withTinyWeights<M extends Module>(model: M): M {
  for (const [name, t] of model.namedTensors()) {
    const values = name.includes('gamma')
      ? new Generator(name.length).uniform(t.size).map((u) => 0.5 + u)
      : weightsOf(name, t.shape);
    if (values) writeValues(t, values);
  }
  return model;
}

export function tinyClassifier(
  backend: Backend,
  extra: Partial<ViTConfig> = {},
  pooling = CLASSIFIER.pooling,
): VisionTransformer {
  const config = { ...CLASSIFIER.config, ...extra };
  const { classes } = CLASSIFIER;
  const b = new Builder({ backend, initialize: false });
  return withTinyWeights(new VisionTransformer(b, config, { classes, pooling }));
}

export function tinyPretrained(backend: Backend): MaskedImageModel {
  return withTinyWeights(new MaskedImageModel(new Builder({ backend, initialize: false }), PRETRAINED.config, HIDDEN));
}

/** Pictures to classify, of step `step`. */
export function classifierBatch(step: number): ClassificationBatch {
  const random = new Generator(100 + step);
  const labels = random.integers(BATCH, 0, CLASSIFIER.classes);
  // Pictures of a class are alike.
  const images = random.normal(BATCH * 3 * SIDE * SIDE);
  labels.forEach((label, b) => {
    const own = new Generator(label).normal(3 * SIDE * SIDE);
    for (let i = 0; i < own.length; i++) images[b * own.length + i] += own[i];
  });
  return { size: BATCH, side: SIDE, images, labels, targets: null, files: [] };
}

/** Pictures with hidden patches, of step `step`, and the codes of all patches. */
export function maskedBatch(step: number): { readonly batch: MaskedImages; readonly codes: Int32Array } {
  const random = new Generator(500 + step);
  const masked = Uint8Array.from(
    Array.from({ length: BATCH }, () => [...blockMask({ grid: GRID, count: 6, least: 2 }, random)]).flat(),
  );
  const predictPatches = Int32Array.from([...masked.keys()].filter((i) => masked[i] === 1));
  const images = random.normal(BATCH * 3 * SIDE * SIDE);
  const codes = random.integers(masked.length, 0, CODES);
  return { batch: { size: BATCH, side: SIDE, images, masked, predictPatches, files: [] }, codes };
}

/** Trains the classifier as beit.py does; the loss of each step. */
export async function trainTinyClassifier(model: VisionTransformer, settings = BEIT_SETTINGS): Promise<number[]> {
  const trainer = new Trainer(beitSubject(CLASSIFIER), model, settings);
  const losses: number[] = [];
  for (let step = 0; step < BEIT_STEPS; step++)
    losses.push((await trainer.step(async () => classifierBatch(step), step, BEIT_RATES[step])).loss);
  trainer.dispose();
  return losses;
}

/** Trains the other one on hidden patches. */
export async function trainTinyPretrained(model: MaskedImageModel): Promise<number[]> {
  let codes: Int32Array = new Int32Array();
  const tokenizer: ImageTokenizer = {
    codes: CODES,
    imageSize: SIDE,
    grid: GRID,
    encode: (images) => tensor(codes, { shape: [BATCH, GRID * GRID], backend: images.backend }),
  };
  const data = { next: async () => [], position: () => null, restore: async () => {}, close: async () => {} };
  const { weightDecay, optBetas: betas, optEps: eps } = BEIT_SETTINGS;
  const task = new MimTask(model, tokenizer, data, { statistics: 'vl', weightDecay, betas, eps, clipGrad: 3 });
  const losses: number[] = [];
  for (let step = 0; step < BEIT_STEPS; step++) {
    const made = maskedBatch(step);
    codes = made.codes;
    losses.push((await task.step([made.batch], step, BEIT_RATES[step])).loss);
  }
  task.dispose();
  return losses;
}

/** Writes classifier.* and model.* into a folder, trained a little. */
export async function exportTinyBeit(
  kind: 'classifier' | 'pretrained',
  folder: string,
  backend: Backend,
): Promise<string[]> {
  if (kind === 'pretrained') {
    const model = tinyPretrained(backend);
    await trainTinyPretrained(model);
    const files = [await exportMim(model, PRETRAINED, { output: folder })];
    files.push(await exportMim(model, PRETRAINED, { output: folder, exportFormat: 'pth' }));
    model.dispose();
    return files;
  }
  const model = tinyClassifier(backend);
  await trainTinyClassifier(model);
  const { description, unused } = beitSubject(CLASSIFIER);
  const tensors = [...writableTensors(model.stateDict()), ...unused(new Map(), 0)];
  const files = await exportWeights(join(folder, 'classifier'), 'both', tensors, trainedConfig(description));
  model.dispose();
  return files;
}

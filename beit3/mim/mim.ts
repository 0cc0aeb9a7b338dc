/** `beit3 mim`: everything is opened and checked, then trained. Node only. */
import { openCheckpoint } from '../../checkpoints/index.js';
import { defaultBackend, setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { manualSeed } from '../../core/random.js';
import type { Builder } from '../../nn/builder.js';
import { writableTensors } from '../checkpoint.js';
import { generatorOf } from '../data/loader/random.js';
import { openPictures } from '../data/stream/index.js';
import { BatchQueue, drawn, StreamedPictures } from '../data/stream/queue.js';
import type { ImageSample } from '../data/stream/stream.js';
import type { MaskedImages } from '../pretrain/batch.js';
import { maskedImages, pretrainingTransform } from '../pretrain/loader.js';
import { batchesOfSteps } from '../training/data.js';
import { exportWeights, trainedConfig } from '../training/export.js';
import { prepareOutput, runSteps } from '../training/run.js';
import {
  mergeSettings,
  namesSkipped,
  optimiserOptions,
  type TrainingOptions,
  type TrainingResult,
} from '../training/settings.js';
import { fitNotes, startFrom } from '../training/start.js';
import { beitSpecOf, fittedEntries, indexTables } from '../vit/checkpoint.js';
import { gridOf, parseViTConfig, type ViTConfig } from '../vit/config.js';
import { MaskedImageModel, type MaskedImageModelOptions } from '../vit/maskedImageModel.js';
import { BEIT_SIZES } from '../vit/models.js';
import { type BeitSpec, describeBeit } from '../vit/spec.js';
import { loadVqKd } from '../vqkd/checkpoint.js';
import type { ImageTokenizer } from '../vqkd/imageTokenizer.js';
import { BEITV2, findMimRecipe, type MimSettings } from './settings.js';
import { MimTask } from './task.js';

export interface MimOptions extends TrainingOptions<MimSettings> {
  /** Pictures: folders, files or .tar shards. */
  readonly images: readonly string[];
  /** A VQ-KD checkpoint. */
  readonly imageTokenizer: string;
  /** Weights to go on from: an official pretrained checkpoint or one of ours. */
  readonly checkpoint?: string;
  /** `base`, `large`, or fields of a config; default: the checkpoint's, else the recipe's. */
  readonly model?: string | Readonly<Record<string, unknown>>;
}

/** The settings that options stand for. Throws InputError. */
export function mimSettings({ recipe, settings }: Pick<MimOptions, 'recipe' | 'settings'>): MimSettings {
  return mergeSettings(BEITV2, recipe === undefined ? {} : findMimRecipe(recipe).settings, settings ?? {});
}

/**
 * Pretrains a BEiT or BEiT v2 by masked image modelling and leaves in `output` training checkpoints, the log, and the weights
 * under the official names as `model.safetensors`, which `finetune` takes. A run that was ended, in whatever way, goes on when
 * it is started again with the same options, to the same numbers.
 *
 * Throws InputError for options, files and data that are wrong, and Error when training goes astray.
 */
export async function mim(options: MimOptions): Promise<TrainingResult> {
  const { images, output, onEvent = () => {} } = options;
  if (images.length === 0) throw new InputError('There is nothing to train on; give --images.');
  const settings = mimSettings(options);
  const backend = options.backend ?? defaultBackend();
  await prepareOutput(output);
  const before = setDefaultBackend(backend);
  const owned: { dispose(): void }[] = [];
  try {
    const tokenizer = (await loadVqKd(options.imageTokenizer, { backend })).model;
    owned.push(tokenizer);
    manualSeed(settings.seed + settings.rank);
    const { model, spec, notes } = await startMim(options, settings, tokenizer);
    owned.push(model);
    expectFit(spec.config, tokenizer);
    for (const text of notes) onEvent({ type: 'note', text });
    const data = await openData(options, settings, spec.config);
    const task = new MimTask(model, tokenizer, data, {
      statistics: spec.statistics,
      ...optimiserOptions(settings),
    });
    owned.push(task);
    try {
      const { lr, minLr, warmupSteps, steps, ...rest } = settings;
      const result = await runSteps(task, {
        ...options,
        steps,
        rates: { lr, minLr, warmupSteps },
        kind: 'mim',
        settings: { ...rest, model: describeBeit(spec), images },
      });
      if (result.interrupted) return { ...result, model: null };
      return { ...result, model: await exportMim(model, spec, options) };
    } finally {
      await data.close();
    }
  } finally {
    for (const one of owned) one.dispose();
    setDefaultBackend(before);
  }
}

/** The model to train: weights of a checkpoint as far as they go, fresh ones for the rest. */
async function startMim(
  options: MimOptions,
  settings: MimSettings,
  tokenizer: ImageTokenizer,
): Promise<{ model: MaskedImageModel; spec: BeitSpec; notes: string[] }> {
  const { checkpoint: path, onLoading } = options;
  const { seed } = settings;
  const source = path === undefined ? null : await openCheckpoint(path);
  try {
    const found = source && path !== undefined ? await beitSpecOf(source, path) : null;
    const spec = specOf(options, settings, tokenizer.codes, found);
    const pretraining = spec.pretraining as MaskedImageModelOptions;
    const make = (b: Builder) => new MaskedImageModel(b, spec.config, pretraining);
    const fitted = fittedEntries(source?.tensors ?? new Map(), spec.config);
    const { model, ...begun } = await startFrom(make, {
      source: path ?? '',
      entries: fitted.entries,
      head: 'lm_head.weight',
      backend: defaultBackend(),
      seed,
      onProgress: onLoading,
    });
    const notes =
      path === undefined
        ? ['Beginning with fresh weights: no checkpoint was given.']
        : [...fitNotes(begun, path), ...fitted.notes];
    return { model, spec, notes };
  } finally {
    await source?.close();
  }
}

/** Sizes: those of a checkpoint; else those that were told, or the recipe's. */
function specOf(
  { model, recipe, settings: given = {} }: MimOptions,
  settings: MimSettings,
  codes: number,
  found: BeitSpec | null,
): BeitSpec {
  const trained = {
    drop_path_rate: settings.dropPath,
    checkpoint_activations: settings.checkpointActivations,
  };
  const statistics = settings.normalization === 'imagenet' ? 'imagenet' : 'vl';
  const shape = { classes: 0, pooling: 'cls' } as const;
  if (found) {
    const { aggregation: had } = found.pretraining ?? {};
    // What the checkpoint has holds unless it was told otherwise.
    const { earlyLayers = had?.earlyLayers ?? 0, headLayers = had?.headLayers ?? settings.headLayers } = given;
    const { sharedHead = had?.sharedHead ?? settings.sharedHead } = given;
    const config = parseViTConfig(trained, 'The model', found.config);
    return {
      ...shape,
      config,
      statistics: given.normalization === undefined ? found.statistics : statistics,
      pretraining: { codes, aggregation: aggregationOf({ earlyLayers, headLayers, sharedHead }, config) },
    };
  }
  const chosen = model ?? (recipe === undefined ? 'base' : findMimRecipe(recipe).model);
  if (typeof chosen === 'string' && !Object.hasOwn(BEIT_SIZES, chosen))
    throw new InputError(
      `There is no size ${JSON.stringify(chosen)}; expected base or large, or a file with --config.`,
    );
  const sizes: Readonly<Record<string, unknown>> =
    typeof chosen === 'string' ? { ...BEIT_SIZES[chosen as keyof typeof BEIT_SIZES] } : chosen;
  const positions = {
    init_values: settings.layerScale,
    use_abs_pos_emb: settings.absPosEmb,
    use_shared_rel_pos_bias: settings.relPosBias,
  };
  const config = parseViTConfig({ ...positions, ...sizes, ...trained }, 'The model');
  return { ...shape, config, statistics, pretraining: { codes, aggregation: aggregationOf(settings, config) } };
}

/** The layers that train [CLS]; none for BEiT. Throws InputError where there are not so many layers. */
function aggregationOf(
  { earlyLayers, headLayers, sharedHead }: Pick<MimSettings, 'earlyLayers' | 'headLayers' | 'sharedHead'>,
  { depth }: ViTConfig,
): MaskedImageModelOptions['aggregation'] {
  if (earlyLayers === 0 || headLayers === 0) return undefined;
  if (earlyLayers <= depth) return { earlyLayers, headLayers, sharedHead };
  throw new InputError(
    `The patches cannot wait behind layer ${earlyLayers}: the model has ${depth}; lower --early-layers.`,
  );
}

/** Throws InputError where model and tokenizer do not see the same patches. */
function expectFit(config: ViTConfig, tokenizer: ImageTokenizer): void {
  const grid = gridOf(config);
  if (tokenizer.grid === grid && tokenizer.imageSize === config.img_size && config.in_chans === 3) return;
  throw new InputError(
    `The visual tokenizer sees ${tokenizer.grid} x ${tokenizer.grid} patches of pictures of ${tokenizer.imageSize} pixels, the model ${grid} x ${grid} of ${config.img_size}; train one that fits with beit3 vqkd train.`,
  );
}

async function openData(
  { images, workers, onEvent = () => {} }: MimOptions,
  settings: MimSettings,
  config: ViTConfig,
): Promise<MimTask['data']> {
  const { seed, rank, worldSize, shuffleBuffer: buffer, updateFreq, imageBatch } = settings;
  const onSkip = namesSkipped((text) => onEvent({ type: 'note', text }));
  const stream = await openPictures(images, { seed, rank, worldSize, buffer, onSkip });
  const transform = pretrainingTransform(config.img_size, settings.minCrop, settings.colorJitter);
  const pictures = new StreamedPictures({ transform, seed, rank, worldSize, workers, onSkip });
  const grid = gridOf(config);
  const hiddenPatches = Math.max(1, Math.round(settings.imageMask * grid * grid));
  const masking = { grid, hiddenPatches, leastBlock: settings.minBlock };
  const queue = new BatchQueue<readonly ImageSample[], MaskedImages>(
    { images: stream },
    {
      draw: () => drawn(stream, imageBatch),
      make: async (samples, index) => {
        const random = generatorOf(seed, 'mask', 0, index * worldSize + rank);
        return maskedImages(await pictures.load(samples, index), samples, masking, random);
      },
      close: () => pictures.close(),
    },
  );
  return batchesOfSteps(queue, updateFreq);
}

/** Writes the weights as the class of the reference loads them, strictly. */
export async function exportMim(
  model: MaskedImageModel,
  spec: BeitSpec,
  { output, exportFormat = 'safetensors' }: Pick<MimOptions, 'output' | 'exportFormat'>,
): Promise<string> {
  const { join } = await import('node:path');
  const tensors = [...writableTensors(model.stateDict()), ...indexTables(spec.config, model.cls_pt_layers.length)];
  const [path] = await exportWeights(join(output, 'model'), exportFormat, tensors, trainedConfig(describeBeit(spec)));
  return path;
}

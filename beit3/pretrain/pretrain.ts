/** `beit3 pretrain`: everything is opened and checked, then trained. Node only. */
import { openCheckpoint, type TensorEntry } from '../../checkpoints/index.js';
import { defaultBackend, setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { sameShape } from '../../core/layout.js';
import { Generator, manualSeed } from '../../core/random.js';
import { Builder } from '../../nn/builder.js';
import { configOf, describeSpec, fillTensor, makeFilled, writableTensors } from '../checkpoint.js';
import { type Beit3Config, parseConfig, patchCount, SIZES } from '../config.js';
import { openPairs, openPictures, openTexts } from '../data/stream/index.js';
import { inferConfig } from '../infer.js';
import { Backbone } from '../model/backbone.js';
import { expectTextLength } from '../pipeline/texts.js';
import { Tokenizer } from '../tokenizer/index.js';
import { batchesOfSteps } from '../training/data.js';
import { copyInto, exportWeights, trainedConfig } from '../training/export.js';
import { prepareOutput, runSteps } from '../training/run.js';
import {
  mergeSettings,
  namesSkipped,
  optimiserOptions,
  type TrainingOptions,
  type TrainingResult,
} from '../training/settings.js';
import { loadVqKd } from '../vqkd/checkpoint.js';
import type { ImageTokenizer } from '../vqkd/imageTokenizer.js';
import { type PretrainStreams, pretrainBatches, pretrainingTransform } from './loader.js';
import { Pretraining } from './model.js';
import { findPretrainRecipe, PAPER, type PretrainSettings, parseMaskRule } from './settings.js';
import { PretrainTask } from './task.js';

export interface PretrainOptions extends TrainingOptions<PretrainSettings> {
  /** Pictures: folders, files or .tar shards; texts: .txt or .jsonl; pairs: .tar shards or tables. At least one kind. */
  readonly images?: readonly string[];
  readonly texts?: readonly string[];
  readonly pairs?: readonly string[];
  /** The .spm file; needed for texts and pairs. */
  readonly tokenizer?: string;
  /** A VQ-KD checkpoint; needed for pictures and pairs. */
  readonly imageTokenizer?: string;
  /** Weights to go on from: an official pretrained checkpoint or one of ours. */
  readonly checkpoint?: string;
  /** `base`, `large`, `giant`, or fields of a config; default: the checkpoint's, else the recipe's. */
  readonly model?: string | Readonly<Record<string, unknown>>;
}

/** The settings that options stand for. Throws InputError. */
export function pretrainSettings({ recipe, settings }: Pick<PretrainOptions, 'recipe' | 'settings'>): PretrainSettings {
  return mergeSettings(PAPER, recipe === undefined ? {} : findPretrainRecipe(recipe).settings, settings ?? {});
}

/**
 * Pretrains a BEiT-3 by masked data modelling on pictures, texts and pairs, and leaves in `output` training checkpoints,
 * the log, and the weights under the official names as `model.safetensors`, which fine-tuning takes. A run that was ended,
 * in whatever way, goes on when it is started again with the same options, to the same numbers.
 *
 * Throws InputError for options, files and data that are wrong, and Error when training goes astray.
 */
export async function pretrain(options: PretrainOptions): Promise<TrainingResult> {
  const { images = [], texts = [], pairs = [], output } = options;
  if (images.length + texts.length + pairs.length === 0)
    throw new InputError('There is nothing to train on; give --images, --texts or --pairs.');
  const needsWords = texts.length + pairs.length > 0;
  const needsCodes = images.length + pairs.length > 0;
  if (needsWords && options.tokenizer === undefined)
    throw new InputError('Texts need a tokenizer; give the .spm file with --tokenizer.');
  if (needsCodes && options.imageTokenizer === undefined)
    throw new InputError(
      'Pictures need a visual tokenizer; give a VQ-KD checkpoint with --image-tokenizer (see beit3 vqkd).',
    );
  const settings = pretrainSettings(options);
  const backend = options.backend ?? defaultBackend();
  await prepareOutput(output);
  const before = setDefaultBackend(backend);
  const owned: { dispose(): void }[] = [];
  try {
    const words = options.tokenizer === undefined ? null : await Tokenizer.load(options.tokenizer);
    const codes = needsCodes ? (await loadVqKd(options.imageTokenizer as string, { backend })).model : null;
    if (codes) owned.push(codes);
    manualSeed(settings.seed + settings.rank);
    const { model, config, notes } = await startPretraining(options, settings, words, codes);
    owned.push(model);
    expectFit(config, settings, words, codes);
    const data = await openData(options, settings, config, words);
    const [image, text, pairImage, pairText] = settings.lossWeights;
    const task = new PretrainTask(model, codes ?? NO_CODES, data, {
      weights: { image, text, pairImage, pairText },
      ...optimiserOptions(settings),
    });
    owned.push(task);
    try {
      const { lr, minLr, warmupSteps, steps, ...rest } = settings;
      const described = {
        ...rest,
        model: describeSpec({ task: 'captioning', config, numClasses: 0 }),
        images,
        texts,
        pairs,
        tokenizer: await nameOf(options.tokenizer),
        imageTokenizer: await nameOf(options.imageTokenizer),
      };
      const result = await runSteps(task, {
        ...options,
        steps,
        rates: { lr, minLr, warmupSteps },
        kind: 'pretrain',
        settings: described,
        beginning: notes,
      });
      if (result.interrupted) return { ...result, model: null };
      const path = await exportModel(model, config, options);
      return { ...result, model: path };
    } finally {
      await data.close();
    }
  } finally {
    for (const one of owned) one.dispose();
    setDefaultBackend(before);
  }
}

/** The name of a file wherever it lies: another file would give other numbers. */
async function nameOf(path: string | undefined): Promise<string | null> {
  const { basename } = await import('node:path');
  return path === undefined ? null : basename(path);
}

/** Stands where nothing is tokenized: texts alone. */
const NO_CODES: ImageTokenizer = {
  codes: 1,
  imageSize: 0,
  grid: 0,
  encode: () => {
    throw new TypeError('there is no visual tokenizer');
  },
};

/** Codes of the official models, for those that are made without a visual tokenizer. */
const OFFICIAL_CODES = 8192;

/** The model to train: weights of a checkpoint as far as they go, fresh ones for the rest. */
async function startPretraining(
  options: PretrainOptions,
  settings: PretrainSettings,
  words: Tokenizer | null,
  codes: ImageTokenizer | null,
): Promise<{ model: Pretraining; config: Beit3Config; notes: string[] }> {
  const { checkpoint: path, onLoading } = options;
  const { initialisation, dropPath, checkpointActivations, seed } = settings;
  const trained = { drop_path_rate: dropPath, checkpoint_activations: checkpointActivations };
  const backend = defaultBackend();
  const builder = new Builder({ backend, generator: new Generator(seed) });
  if (path === undefined) {
    const config = parseConfig({ ...sizesOf(options, words), ...trained }, 'The model');
    const model = new Pretraining(builder, config, { codes: codes?.codes ?? OFFICIAL_CODES, initialisation });
    return { model, config, notes: [`Beginning with fresh weights (${initialisation}): no checkpoint was given.`] };
  }
  const checkpoint = await openCheckpoint(path);
  try {
    const inferred = inferConfig(checkpoint.tensors, path, await configOf(checkpoint, path));
    const config = parseConfig(trained, 'The model', inferred);
    const both = { A: true, B: true };
    const { model: whole } = await makeFilled((b) => new Backbone(b, config, both), checkpoint.tensors, path, {
      backend,
      onProgress: onLoading,
    });
    const count = codes?.codes ?? checkpoint.tensors.get('mim_head.weight')?.shape[0] ?? OFFICIAL_CODES;
    const model = new Pretraining(builder, config, { codes: count, initialisation, backbone: whole.beit3 });
    const notes: string[] = [];
    for (const head of ['mlm_head', 'mim_head'] as const) {
      const own = ['weight', 'bias'].map(
        (part) => [model[head][part as 'weight' | 'bias'], checkpoint.tensors.get(`${head}.${part}`)] as const,
      );
      if (own.every(([t, entry]) => t && entry && sameShape(t.shape, entry.shape)))
        for (const [t, entry] of own) await fillTensor(t as NonNullable<typeof t>, entry as TensorEntry);
      else notes.push(`New, not in ${path} or of another size there: ${head}.`);
    }
    return { model, config, notes };
  } finally {
    await checkpoint.close();
  }
}

/** Sizes of a fresh model: told, or the recipe's; the word table fits the tokenizer. */
function sizesOf({ model, recipe }: PretrainOptions, words: Tokenizer | null): Record<string, unknown> {
  const chosen = model ?? (recipe === undefined ? 'base' : findPretrainRecipe(recipe).model);
  let sizes: Readonly<Record<string, unknown>>;
  if (typeof chosen !== 'string') sizes = chosen;
  else if (Object.hasOwn(SIZES, chosen)) sizes = { ...SIZES[chosen as keyof typeof SIZES] };
  else
    throw new InputError(
      `There is no size ${JSON.stringify(chosen)}; expected base, large or giant, or a file with --config.`,
    );
  const isPublished = typeof chosen === 'string';
  if (words === null || (!isPublished && sizes.vocab_size !== undefined)) return { ...sizes };
  // The official table has more rows than its tokenizer has words.
  return {
    ...sizes,
    vocab_size: isPublished ? Math.max(SIZES.base.vocab_size, words.vocabularySize) : words.vocabularySize,
  };
}

/** Throws InputError where model, tokenizers and settings do not fit together. */
function expectFit(
  config: Beit3Config,
  settings: PretrainSettings,
  words: Tokenizer | null,
  codes: ImageTokenizer | null,
): void {
  const grid = Math.sqrt(patchCount(config));
  if (codes && (codes.grid !== grid || codes.imageSize !== config.img_size)) {
    throw new InputError(
      `The visual tokenizer sees ${codes.grid} x ${codes.grid} patches of pictures of ${codes.imageSize} pixels, the model ${grid} x ${grid} of ${config.img_size}; train one that fits with beit3 vqkd train.`,
    );
  }
  if (words && words.maskId >= config.vocab_size) {
    throw new InputError(
      `The tokenizer has ${words.vocabularySize} tokens, but the word table of the model ${config.vocab_size} rows; give the tokenizer of the model.`,
    );
  }
  const longest = Math.max(settings.textLength, settings.pairTextLength);
  expectTextLength(config, longest, '--text-length and --pair-text-length');
}

async function openData(
  { images = [], texts = [], pairs = [], workers, onEvent = () => {} }: PretrainOptions,
  settings: PretrainSettings,
  config: Beit3Config,
  words: Tokenizer | null,
): Promise<PretrainTask['data']> {
  const { seed, rank, worldSize, shuffleBuffer: buffer, updateFreq } = settings;
  const onSkip = namesSkipped((text) => onEvent({ type: 'note', text }));
  const shuffle = { seed, rank, worldSize, buffer, onSkip };
  const tokenizer = words as Tokenizer;
  const { textLength: length, pairTextLength: maxTokens } = settings;
  const streams: PretrainStreams = {
    images: images.length > 0 ? { stream: await openPictures(images, shuffle), size: settings.imageBatch } : null,
    texts:
      texts.length > 0
        ? { stream: await openTexts(texts, { ...shuffle, tokenizer, length }), size: settings.textBatch }
        : null,
    pairs:
      pairs.length > 0
        ? { stream: await openPairs(pairs, { ...shuffle, tokenizer, maxTokens }), size: settings.pairBatch }
        : null,
  };
  const patches = patchCount(config);
  const queue = pretrainBatches(streams, {
    seed,
    rank,
    worldSize,
    workers,
    onSkip,
    imageTransform: pretrainingTransform(config.img_size, settings.minCrop, settings.colorJitter),
    pairTransform: pretrainingTransform(config.img_size, settings.pairMinCrop, settings.colorJitter),
    grid: Math.sqrt(patches),
    hiddenPatches: Math.max(1, Math.round(settings.imageMask * patches)),
    leastBlock: settings.minBlock,
    textShare: settings.textMask,
    pairShare: settings.pairTextMask,
    rule: parseMaskRule(settings.maskRule),
    vocabulary: { size: words?.maskId ?? 4, maskId: words?.maskId ?? 0 },
  });
  return batchesOfSteps(queue, updateFreq);
}

async function exportModel(model: Pretraining, config: Beit3Config, options: PretrainOptions): Promise<string> {
  const { join } = await import('node:path');
  const { output, exportFormat = 'safetensors', tokenizer } = options;
  const description = { ...trainedConfig(config), multiway: true, subln: true };
  const tensors = writableTensors(model.namedTensors());
  const [path] = await exportWeights(join(output, 'model'), exportFormat, tensors, description);
  if (tokenizer !== undefined) await copyInto(tokenizer, output);
  return path;
}

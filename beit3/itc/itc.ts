/** `beit3 itc`: everything is opened and checked, then tuned. Node only. */
import { openCheckpoint } from '../../checkpoints/index.js';
import { defaultBackend, setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { manualSeed } from '../../core/random.js';
import { describeSpec, writableTensors } from '../checkpoint.js';
import type { ModelSpec } from '../config.js';
import { countPairs, openPairs } from '../data/stream/index.js';
import { visionLanguageTraining } from '../data/transforms/index.js';
import { modelConfig, startModel, startNotes } from '../finetune/start.js';
import { expectTextLength, loadTokenizer, tokenizerBeside } from '../pipeline/texts.js';
import { copyInto, exportWeights, trainedConfig } from '../training/export.js';
import { prepareOutput, runSteps } from '../training/run.js';
import {
  mergeSettings,
  namesCut,
  namesSkipped,
  optimiserOptions,
  recipeNamed,
  type TrainingOptions,
  type TrainingResult,
} from '../training/settings.js';
import { itcBatches } from './loader.js';
import { ITC_PAPER, ITC_RECIPES, type ItcSettings, runLength } from './settings.js';
import { ItcTask } from './task.js';

export interface ItcOptions extends TrainingOptions<ItcSettings> {
  /** Pairs: .tar shards or tables. */
  readonly pairs: readonly string[];
  /** Weights to begin with: a pretrained model, official or ours, or one that was tuned before. */
  readonly checkpoint: string;
  /** The .spm file; default: the one beside the checkpoint. */
  readonly tokenizer?: string;
}

/** The settings that options stand for. Throws InputError. */
export function itcSettings({ recipe, settings }: Pick<ItcOptions, 'recipe' | 'settings'>): ItcSettings {
  return mergeSettings(
    ITC_PAPER,
    recipe === undefined ? {} : recipeNamed(ITC_RECIPES, recipe).settings,
    settings ?? {},
  );
}

/**
 * Tunes a pretrained BEiT-3 by image-text contrast into a dual encoder, and leaves in `output` training checkpoints, the
 * log, and the weights as `model.safetensors`, with the names of the official `beit3_*_itc_*` files, which evaluation and
 * fine-tuning for retrieval take. A run that was ended, in whatever way, goes on when it is started again with the same
 * options, to the same numbers.
 *
 * Throws InputError for options, files and data that are wrong, and Error when training goes astray.
 */
export async function itc(options: ItcOptions): Promise<TrainingResult> {
  const { pairs, output, workers, onEvent = () => {} } = options;
  const { join } = await import('node:path');
  if (pairs.length === 0) throw new InputError('There is nothing to train on; give pairs with --pairs.');
  const settings = itcSettings(options);
  const length = runLength(settings, settings.pairsPerEpoch ?? (await countPairs(pairs)));
  const note = (text: string): void => onEvent({ type: 'note', text });
  const backend = options.backend ?? defaultBackend();
  await prepareOutput(output);
  const before = setDefaultBackend(backend);
  const owned: { dispose(): void }[] = [];
  try {
    const words = options.tokenizer ?? (await tokenizerBeside(options.checkpoint));
    manualSeed(settings.seed + settings.rank);
    const { model, spec, notes } = await startItc(options, settings);
    owned.push(model);
    for (const text of notes) note(text);
    const tokenizer = await loadTokenizer({ checkpoint: options.checkpoint, tokenizer: words }, spec.config);
    expectTextLength(spec.config, settings.textLength, '--text-length');
    const { seed, rank, worldSize, shuffleBuffer: buffer, textLength: maxTokens, randaug } = settings;
    const onSkip = namesSkipped(note);
    const onCut = namesCut(note, maxTokens);
    const stream = await openPairs(pairs, { tokenizer, maxTokens, buffer, seed, rank, worldSize, onSkip, onCut });
    const transform = visionLanguageTraining({ size: spec.config.img_size, randAugment: randaug });
    const data = itcBatches(stream, { ...settings, transform, workers, onSkip });
    const task = new ItcTask(model, data, {
      config: spec.config,
      layerDecay: settings.layerDecay,
      ...optimiserOptions(settings),
    });
    owned.push(task);
    try {
      const { lr, minLr, steps: _steps, warmupSteps: _warmup, ...rest } = settings;
      const result = await runSteps(task, {
        ...options,
        steps: length.steps,
        rates: { lr, minLr, warmupSteps: length.warmupSteps },
        kind: 'itc',
        settings: { ...rest, model: describeSpec(spec), pairs },
      });
      if (result.interrupted) return { ...result, model: null };
      const description = describeSpec({ ...spec, config: trainedConfig(spec.config) });
      const tensors = writableTensors(model.namedTensors());
      const [path] = await exportWeights(
        join(output, 'model'),
        options.exportFormat ?? 'safetensors',
        tensors,
        description,
      );
      await copyInto(words, output);
      return { ...result, model: path };
    } finally {
      await data.close();
    }
  } finally {
    for (const one of owned) one.dispose();
    setDefaultBackend(before);
  }
}

/** The dual encoder of a checkpoint; what it lacks is fresh. */
async function startItc({ checkpoint: path, onLoading }: ItcOptions, settings: ItcSettings) {
  const checkpoint = await openCheckpoint(path);
  try {
    const source = { path, checkpoint };
    const config = await modelConfig({ task: 'retrieval', source, model: null, settings });
    const spec: ModelSpec & { readonly task: 'retrieval' } = { task: 'retrieval', config, numClasses: 0 };
    const { seed } = settings;
    const backend = defaultBackend();
    const start = await startModel(spec, source, { backend, initialisation: 'official', seed, onProgress: onLoading });
    return { model: start.model, spec, notes: startNotes(start, path) };
  } finally {
    await checkpoint.close();
  }
}

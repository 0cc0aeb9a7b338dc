/** BEiT-3 as what a run trains. */
import type { Checkpoint } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import type { Builder } from '../../nn/builder.js';
import { atResolution, configOf, describeSpec, POSITIONS } from '../checkpoint.js';
import {
  type Beit3Config,
  configObject,
  MODELS,
  type ModelSpec,
  normalizesOutput,
  parseConfig,
  SIZES,
  type Task,
} from '../config.js';
import { createModel } from '../heads/index.js';
import { CLASS_WEIGHT, inferConfig } from '../infer.js';
import { layerDecayGroups } from '../layerDecay.js';
import type { Initialisation } from '../model/initialisation.js';
import { type Source, startFrom, wantedTensors } from '../training/start.js';
import { unusedWeights } from './export.js';
import type { Settings } from './settings.js';
import { type Subject, type TrainedModel, trainedGroups } from './subject.js';

export interface SizesOptions {
  readonly task: Task;
  readonly source: Source | null;
  /** An official name, or null. */
  readonly model: string | null;
  readonly config?: unknown;
  readonly configName?: string;
  /** Rows of the word table where nothing else tells. */
  readonly vocabularySize?: number;
  readonly settings: Settings;
}

/** The sizes of the model to train. Throws InputError where they are not told or contradict the checkpoint. */
export async function modelConfig(options: SizesOptions): Promise<Beit3Config> {
  const { settings } = options;
  if (settings.pooling !== null && settings.pooling !== 'mean')
    throw new InputError('A BEiT-3 classifies the mean of its patches; leave --pooling out.');
  const config = await sizes(options);
  return parseConfig(
    {
      ...(settings.inputSize === null ? {} : { img_size: settings.inputSize }),
      drop_path_rate: settings.linearProbe ? 0 : settings.dropPath,
      checkpoint_activations: settings.checkpointActivations,
    },
    'The model',
    config,
  );
}

async function sizes({ task, source, model, config, configName, vocabularySize }: SizesOptions): Promise<Beit3Config> {
  const normalized = { normalize_output: normalizesOutput(task) };
  if (model !== null) return { ...officialSizes(model), ...normalized };
  if (source) {
    const { tensors } = source.checkpoint;
    const told = await configOf(source.checkpoint, source.path, { config, configName });
    const inferred = inferConfig(tensors, source.path, told);
    // A head of this task shows that the backbone has ended as it does since then.
    const isTuned = HEAD_NAMES[task].every((name) => tensors.has(name));
    const isSaid =
      config !== undefined && configObject(config, configName ?? 'The config').normalize_output !== undefined;
    return isTuned || isSaid ? inferred : { ...inferred, ...normalized };
  }
  if (config === undefined) {
    throw new InputError(
      'The size of the model is not known: give --checkpoint FILE, or --model NAME or --config FILE to begin with fresh weights.',
    );
  }
  const vocabulary = vocabularySize === undefined ? {} : { vocab_size: vocabularySize };
  return parseConfig(config, configName ?? 'The config', { ...vocabulary, ...normalized });
}

const HEAD_NAMES: Record<Task, readonly string[]> = {
  imageclassification: ['fc_norm.weight', 'head.weight'],
  vqav2: ['pooler.dense.weight', 'head.3.weight'],
  nlvr2: ['head.dense2.weight'],
  captioning: ['mlm_head.weight'],
  retrieval: ['language_head.weight'],
};

const OFFICIAL_NAME = /^beit3_(base|large)_patch16_(\d{1,4})(_[a-z0-9]+)?$/;

function officialSizes(name: string): Beit3Config {
  const [, size, resolution, task] = OFFICIAL_NAME.exec(name) ?? [];
  const known = [...MODELS.keys()].map((full) => full.replace(/_[a-z0-9]+$/, ''));
  if (size === undefined || (task !== undefined && !MODELS.has(name))) {
    throw new InputError(
      `There is no model named ${JSON.stringify(name.slice(0, 100))}; the nearest is ${nearest(name.slice(0, 100), [...new Set(known)])}.`,
    );
  }
  return parseConfig({ img_size: Number(resolution) }, `The model ${name}`, SIZES[size as 'base' | 'large']);
}

/** The subject of a spec. */
export function beit3Subject<T extends Task>(
  spec: ModelSpec & { readonly task: T },
  initialisation: Initialisation,
): Subject<T> {
  const { task, config, numClasses } = spec;
  const weight = CLASS_WEIGHT[task];
  const make = (b: Builder) => createModel(b, spec, { initialisation }) as TrainedModel<T>;
  return {
    task,
    numClasses,
    imageSize: config.img_size,
    preprocessing: { pipeline: task === 'imageclassification' ? 'imagenet' : 'vl' },
    description: describeSpec(spec),
    make,
    start: async (source, options) => {
      const given: Checkpoint['tensors'] = source?.checkpoint.tensors ?? new Map();
      const entries = atResolution(wantedTensors(make), given);
      const head = weight === null ? null : { weight, classes: numClasses };
      const started = await startFrom(make, { source: source?.path ?? '', entries, head, ...options });
      const [before, after] = [given, entries].map((all) => all.get(POSITIONS)?.shape[0]);
      const notes = before === after ? [] : [`Position table resized from ${before} to ${after} rows.`];
      return { ...started, notes };
    },
    groups: (model, settings) => {
      const { layerDecay, taskHeadLrWeight: headLrWeight, weightDecay } = settings;
      const layers = config.encoder_layers;
      return trainedGroups(layerDecayGroups(model, { layers, layerDecay, headLrWeight, weightDecay }), settings);
    },
    unused: (entries, seed) => unusedWeights(spec, entries, initialisation, seed),
  };
}

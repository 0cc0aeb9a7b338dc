/** The model that training begins with: weights of a checkpoint as far as they go, fresh ones for the rest. */
import type { TensorEntry } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import type { Builder } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import { atResolution, configOf, POSITIONS } from '../checkpoint.js';
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
import { createModel, type TaskModels } from '../heads/index.js';
import { CLASS_WEIGHT, inferConfig } from '../infer.js';
import type { Initialisation } from '../model/initialisation.js';
import { fitNotes, type Source, startFrom, wantedTensors } from '../training/start.js';
import type { Settings } from './settings.js';

export interface SizesOptions {
  readonly task: Task;
  readonly source: Source | null;
  /** An official name, or null. */
  readonly model: string | null;
  readonly config?: unknown;
  readonly configName?: string;
  /** Rows of the word table where nothing else tells. */
  readonly vocabularySize?: number;
  readonly settings: Pick<Settings, 'inputSize' | 'dropPath' | 'checkpointActivations'>;
}

/** The sizes of the model to train. Throws InputError where they are not told or contradict the checkpoint. */
export async function modelConfig(options: SizesOptions): Promise<Beit3Config> {
  const { settings } = options;
  const config = await sizes(options);
  return parseConfig(
    {
      ...(settings.inputSize === null ? {} : { img_size: settings.inputSize }),
      drop_path_rate: settings.dropPath,
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

export interface Start<T extends Task> {
  readonly model: TaskModels[T] & Module;
  /** Weights that the checkpoint does not have, or has for another number of classes. */
  readonly fresh: readonly string[];
  /** Names in the checkpoint that the task does not use. */
  readonly unused: readonly string[];
  /** Rows of the vision position table before and after, where it was resized. */
  readonly resized: readonly [number, number] | null;
}

export interface StartOptions {
  readonly backend: Backend;
  readonly initialisation: Initialisation;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Makes the model of a spec and fills it. Throws InputError that lists all tensors of another shape. */
export async function startModel<T extends Task>(
  spec: ModelSpec & { readonly task: T },
  source: Source | null,
  { backend, initialisation, seed, onProgress }: StartOptions,
): Promise<Start<T>> {
  const make = (b: Builder) => createModel(b, spec, { initialisation }) as TaskModels[T] & Module;
  const given = source?.checkpoint.tensors ?? new Map<string, TensorEntry>();
  const entries = atResolution(wantedTensors(make), given);
  const head = CLASS_WEIGHT[spec.task];
  const started = await startFrom(make, { source: source?.path ?? '', entries, head, backend, seed, onProgress });
  const [before, after] = [given, entries].map((all) => all.get(POSITIONS)?.shape[0] ?? 0);
  return { ...started, resized: before === after ? null : [before, after] };
}

/** What a user should know of how a checkpoint fits. */
export function startNotes({ fresh, unused, resized }: Omit<Start<Task>, 'model'>, path: string): string[] {
  return [
    ...fitNotes({ fresh, unused }, path),
    ...(resized ? [`Position table resized from ${resized[0]} to ${resized[1]} rows.`] : []),
  ];
}

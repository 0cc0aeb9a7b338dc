/** The model that training begins with: weights of a checkpoint as far as they go, fresh ones for the rest. */
import type { Checkpoint, TensorEntry } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import { Generator } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { Builder, metaBackend, writeValues } from '../../nn/builder.js';
import { compareStates, type Module } from '../../nn/module.js';
import { configOf, fillTensor, isResized, POSITIONS, resizedTable } from '../checkpoint.js';
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
import type { Settings } from './settings.js';

/** An open checkpoint and its name. */
export interface Source {
  readonly path: string;
  readonly checkpoint: Checkpoint;
}

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
  const entries = source?.checkpoint.tensors ?? new Map<string, TensorEntry>();
  const wanted = make(new Builder({ backend: metaBackend(), initialize: false })).stateDict();
  const used = usedEntries(spec, wanted, entries, source?.path ?? '');
  const fresh = [...wanted.keys()].filter((name) => !used.has(name));
  // A layer of which a part is missing is drawn whole; what is there is written over it.
  const paths = new Set(fresh.flatMap((name) => [name, name.replace(/\.[^.]*$/, '')]));
  const model = make(new Builder({ backend, generator: new Generator(seed), initialize: (path) => paths.has(path) }));
  try {
    const total = [...used.values()].reduce((n, entry) => n + entry.byteLength, 0);
    let done = 0;
    const own = model.stateDict();
    const resize = isResized(own, used);
    for (const [name, entry] of used) {
      const target = own.get(name) as Tensor;
      if (name === POSITIONS && resize) writeValues(target, await resizedTable(entry, target.shape));
      else await fillTensor(target, entry);
      onProgress?.((done += entry.byteLength), total);
    }
    const unused = [...entries.keys()].filter((name) => !wanted.has(name));
    const rows: readonly [number, number] | null = resize
      ? [(used.get(POSITIONS) as TensorEntry).shape[0], (own.get(POSITIONS) as Tensor).shape[0]]
      : null;
    return { model, fresh, unused, resized: rows };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** What a user should know of how a checkpoint fits. */
export function startNotes({ fresh, unused, resized }: Omit<Start<Task>, 'model'>, path: string): string[] {
  return [
    ...(fresh.length > 0 ? [`New, not in ${path}: ${listed(fresh)}.`] : []),
    ...(unused.length > 0 ? [`Not used of ${path}: ${listed(unused)}.`] : []),
    ...(resized ? [`Position table resized from ${resized[0]} to ${resized[1]} rows.`] : []),
  ];
}

/** All names, those of all layers as one. */
function listed(names: readonly string[]): string {
  return [...new Set(names.map((name) => name.replace(/\.layers\.\d+\./, '.layers.*.')))].join(', ');
}

/** The entries that fill the model. */
function usedEntries(
  spec: ModelSpec,
  wanted: ReadonlyMap<string, Tensor>,
  entries: ReadonlyMap<string, TensorEntry>,
  source: string,
): Map<string, TensorEntry> {
  const used = new Map([...entries].filter(([name]) => wanted.has(name)));
  // A head for other classes is none for these, as the reference has it.
  const weight = CLASS_WEIGHT[spec.task];
  if (weight !== null && used.get(weight)?.shape[0] !== spec.numClasses) {
    used.delete(weight);
    used.delete(weight.replace(/weight$/, 'bias'));
  }
  const shapes = new Map<string, { readonly shape: readonly number[] }>(used);
  if (isResized(wanted, used)) shapes.set(POSITIONS, wanted.get(POSITIONS) as Tensor);
  const problem = compareStates(wanted, shapes, false);
  if (problem) throw new InputError(`${source} does not fit the model: ${problem}.`);
  for (const { name, dtype } of used.values()) {
    if (/^(float(16|32|64)|bfloat16)$/.test(dtype)) continue;
    throw new InputError(
      `${source} stores ${name} as ${dtype}; expected floats of 16 bits or more; save it as float32.`,
    );
  }
  return used;
}

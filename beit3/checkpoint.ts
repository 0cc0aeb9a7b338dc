/** Models from checkpoint files, and back. */
import {
  type Checkpoint,
  computedEntry,
  openCheckpoint,
  readFloat32,
  resizePositions,
  type SourceLike,
  type TensorEntry,
  type WritableTensor,
  writePth,
  writeSafetensors,
} from '../checkpoints/index.js';
import type { Backend } from '../core/backend.js';
import { defaultBackend } from '../core/device.js';
import { InputError } from '../core/errors.js';
import { inNode } from '../core/runtime.js';
import type { Tensor } from '../core/tensor.js';
import { Builder, metaBackend, writeValues } from '../nn/builder.js';
import { compareStates, type Module } from '../nn/module.js';
import { type Beit3Config, type ModelSpec, parseConfig, type Task } from './config.js';
import { type AnyTaskModel, createModel, type TaskModels } from './heads/index.js';
import { type InferOptions, inferSpec } from './infer.js';

export interface LoadOptions extends InferOptions {
  readonly backend?: Backend;
  /** Side of the input images; position tables are resized when the checkpoint has another. */
  readonly imageSize?: number;
  /** Also hold the weights that the task does not use. */
  readonly all?: boolean;
  /** Called as tensors arrive. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
}

export interface LoadedModel<T extends Task = Task> {
  readonly model: TaskModels[T];
  readonly spec: ModelSpec & { readonly task: T };
  /** Names in the checkpoint that the task does not use. */
  readonly unused: readonly string[];
}

/** The table that depends on the resolution. */
export const POSITIONS = 'beit3.encoder.embed_positions.A.weight';
/** Rows of the vision position table that are no patches. */
const EXTRA_ROWS = 3;

/** Config text that lies beside a checkpoint (`config.json`), or null. Node only; a page has no folder to look in. */
async function siblingConfig(source: SourceLike): Promise<{ config: unknown; configName: string } | null> {
  if (typeof source !== 'string' || /^[a-z]+:\/\//i.test(source) || !inNode()) return null;
  const { dirname, join } = await import('node:path');
  const path = join(dirname(source), 'config.json');
  const { readFile } = await import('node:fs/promises');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    return null;
  }
  return { config: parseJson(text, path), configName: path };
}

/** Parsed JSON, or one sentence. */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InputError(`${name} is not valid JSON.`);
  }
}

/** The config that was given, is written inside a checkpoint or lies beside it, in this order. */
export async function configOf(
  checkpoint: Checkpoint,
  source: SourceLike,
  options: LoadOptions = {},
): Promise<Pick<InferOptions, 'config' | 'configName'>> {
  if (options.config !== undefined) return options;
  const inside = checkpoint.metadata.config ?? checkpoint.extra.config;
  // Other programs may keep anything under this name.
  if (typeof inside === 'string' && inside.trimStart().startsWith('{')) {
    const configName = `the config inside ${typeof source === 'string' ? source : 'the checkpoint'}`;
    return { config: parseJson(inside, configName), configName };
  }
  return (await siblingConfig(source)) ?? {};
}

/** The spec of an open checkpoint, with the config that was given, lies beside it or is written inside. */
export async function specOf(
  checkpoint: Checkpoint,
  source: SourceLike,
  options: LoadOptions = {},
): Promise<ModelSpec> {
  const name = typeof source === 'string' ? source : 'The checkpoint';
  const { config, configName } = await configOf(checkpoint, source, options);
  const spec = inferSpec(checkpoint.tensors, name, { task: options.task, config, configName });
  return { ...spec, config: atImageSize(spec.config, options.imageSize) };
}

/** The config for images of another size; the same where none is asked for. */
export function atImageSize(config: Beit3Config, imageSize: number | undefined): Beit3Config {
  return imageSize === undefined ? config : parseConfig({ img_size: imageSize }, 'The image size', config);
}

/**
 * Makes the model that a checkpoint holds and streams its weights into it, one tensor at a time. Only what the task
 * uses is read. Throws one InputError that lists everything missing or misshapen.
 */
export async function loadModel<T extends Task = Task>(
  source: SourceLike,
  options: LoadOptions & { readonly task?: T } = {},
): Promise<LoadedModel<T>> {
  const checkpoint = await openCheckpoint(source);
  try {
    const spec = (await specOf(checkpoint, source, options)) as ModelSpec & { readonly task: T };
    const { model, unused } = await makeFilled(
      (b) => createModel(b, spec, { all: options.all }) as TaskModels[T] & Module,
      checkpoint.tensors,
      typeof source === 'string' ? source : 'The checkpoint',
      options,
    );
    model.eval();
    return { model, spec, unused };
  } finally {
    await checkpoint.close();
  }
}

/**
 * Makes a module and streams the tensors of its names into it. What does not fit is told before any memory is taken:
 * the sizes in a config can be anything. `unused` are the names that it had no use for.
 */
export async function makeFilled<M extends Module>(
  make: (b: Builder) => M,
  entries: ReadonlyMap<string, TensorEntry>,
  source: string,
  { backend = defaultBackend(), onProgress }: Pick<LoadOptions, 'backend' | 'onProgress'> = {},
): Promise<{ model: M; unused: string[] }> {
  const own = make(new Builder({ backend: metaBackend(), initialize: false })).stateDict();
  const fitting = atResolution(own, entries);
  expectFit(own, fitting, source);
  const model = make(new Builder({ backend, initialize: false }));
  try {
    return { model, unused: await fill(model, fitting, onProgress) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** The entries of a checkpoint, with the position table of BEiT-3 as the reference resizes it where a model has another size. */
export function atResolution(
  own: ReadonlyMap<string, Tensor>,
  entries: ReadonlyMap<string, TensorEntry>,
): ReadonlyMap<string, TensorEntry> {
  const [shape, stored] = [own.get(POSITIONS)?.shape, entries.get(POSITIONS)];
  const isResized =
    shape !== undefined && stored?.shape.length === 2 && stored.shape[0] !== shape[0] && stored.shape[1] === shape[1];
  if (!isResized) return entries;
  const [rows, D] = stored.shape;
  const resized = async () => resizePositions(await readFloat32(stored), rows, D, shape[0], EXTRA_ROWS);
  return new Map(entries).set(POSITIONS, computedEntry(POSITIONS, shape, resized));
}

function expectFit(own: ReadonlyMap<string, Tensor>, entries: ReadonlyMap<string, TensorEntry>, source: string): void {
  const problem = compareStates(own, new Map([...entries].filter(([name]) => own.has(name))));
  if (problem) throw new InputError(`${source} does not fit the model: ${problem}.`);
  for (const name of own.keys()) {
    const { dtype } = entries.get(name) as TensorEntry;
    if (/^(complex|float8)/.test(dtype)) {
      throw new InputError(
        `${source} stores ${name} as ${dtype}; expected real numbers of 16 bits or more; save it as float32.`,
      );
    }
  }
}

async function fill(
  model: Module,
  entries: ReadonlyMap<string, TensorEntry>,
  onProgress: LoadOptions['onProgress'],
): Promise<string[]> {
  const own = model.stateDict();
  const total = [...own.keys()].reduce((n, name) => n + (entries.get(name) as TensorEntry).byteLength, 0);
  let done = 0;
  for (const [name, target] of own) {
    const entry = entries.get(name) as TensorEntry;
    await fillTensor(target, entry);
    done += entry.byteLength;
    onProgress?.(done, total);
  }
  return [...entries.keys()].filter((name) => !own.has(name));
}

/** Overwrites a contiguous tensor with the values of an entry of the same shape. */
export async function fillTensor(target: Tensor, entry: TensorEntry): Promise<void> {
  target.storage.change();
  if (entry.dtype === target.dtype) {
    await entry.stream((bytes, at) => target.backend.write(target.storage.block, at, bytes));
  } else {
    writeValues(target, await readFloat32(entry));
  }
}

/** The JSON that describes a model beside its weights. */
export function describeSpec({ task, config, numClasses }: ModelSpec): Record<string, unknown> {
  return { task, ...config, num_classes: numClasses, multiway: true, subln: true };
}

/**
 * Writes a model's weights: `.safetensors` with the config inside, or a `.pth` that PyTorch reads with
 * weights_only=True. The file appears whole or not at all.
 */
export async function saveModel(model: AnyTaskModel, spec: ModelSpec, path: string): Promise<void> {
  const tensors = writableTensors(model.namedTensors());
  const config = JSON.stringify(describeSpec(spec));
  if (path.endsWith('.safetensors')) await writeSafetensors(path, tensors, { format: 'pt', config });
  else if (path.endsWith('.pth') || path.endsWith('.pt')) await writePth(path, tensors, { extra: { config } });
  else throw new InputError(`Cannot tell the format of ${path}: expected a name that ends in .safetensors or .pth.`);
}

/** Tensors as they are written; each is read from its backend when its turn comes. */
export function writableTensors(tensors: Iterable<readonly [string, Tensor]>): WritableTensor[] {
  return Array.from(tensors, ([name, t]) => ({ name, dtype: t.dtype, shape: t.shape, data: () => rawBytes(t) }));
}

/** The values of a contiguous tensor as they lie in memory. */
function rawBytes(t: Tensor): Promise<Uint8Array> {
  const perElement = t.storage.block.bytes / Math.max(1, t.size);
  return t.backend.read(t.storage.block, t.offset * perElement, t.size * perElement);
}

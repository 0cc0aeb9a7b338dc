/**
 * Training checkpoints: one safetensors file with the weights, their averages and the state of the optimiser, and in its
 * metadata a record, plain JSON, of all else that is needed to go on to the same numbers. Node only.
 */
import { type Checkpoint, openCheckpoint, type TensorEntry, writeSafetensors } from '../../checkpoints/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { sameShape } from '../../core/layout.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { expand, reshape, zeros } from '../../core/ops/index.js';
import { defaultGenerator, type GeneratorState } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import type { EMA } from '../../nn/ema.js';
import type { Module } from '../../nn/module.js';
import type { AdamW } from '../../nn/optim.js';
import { fillTensor, parseJson, writableTensors } from '../checkpoint.js';

/** What every record holds. */
export interface SavedState {
  /** The default generator, which drops paths. */
  readonly random: GeneratorState;
  /** Steps that each parameter has seen; one number where all have seen as many. */
  readonly stepCounts: number | Readonly<Record<string, number>>;
}

/** What of a run is saved as tensors. */
export interface TrainedTensors {
  readonly model: Module;
  readonly optimiser: AdamW;
  readonly ema: EMA | null;
}

const KEY = 'azulejo_training';
const MODEL = 'model.';
const OPTIMISER = 'optimizer.';
const NAME = /^checkpoint-(\d{1,15})\.safetensors$/;
const LEFT_BEHIND = /^(checkpoint-\d+|model|model-best)\.(safetensors|pth)\.\w{1,8}\.tmp$/;

export function checkpointName(step: number): string {
  return `checkpoint-${step}.safetensors`;
}

/** How tensors are written; tests put one in its place that fails. */
export type Writer = typeof writeSafetensors;

/** Weights and their averages by their names in the file. */
function* namedWeights({ model, ema }: TrainedTensors): Generator<[string, Tensor]> {
  for (const [name, t] of model.namedTensors()) yield [MODEL + name, t];
  for (const [name, t] of ema?.stateDict() ?? []) yield [`ema.${name}`, t];
}

function* namedOptimiser({ optimiser }: TrainedTensors): Generator<[string, Tensor]> {
  for (const [name, t] of optimiser.stateDict()) yield [OPTIMISER + name, t];
}

/** The count that all have, or each its own. */
export function compactCounts(counts: ReadonlyMap<string, number>, all: number): SavedState['stepCounts'] {
  const values = new Set(counts.values());
  return counts.size === all && values.size === 1 ? [...values][0] : Object.fromEntries(counts);
}

/**
 * Saves a run: the file appears whole, flushed to the disk, or not at all; then all but it and those
 * before it, `keep` in all, are removed.
 * Gives the path. Throws InputError when the disk refuses; older checkpoints are then as they were.
 */
export async function saveCheckpoint(
  folder: string,
  step: number,
  record: SavedState,
  tensors: TrainedTensors,
  { keep = 2, write = writeSafetensors }: { readonly keep?: number; readonly write?: Writer } = {},
): Promise<string> {
  const { open, unlink } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const path = join(folder, checkpointName(step));
  const list = writableTensors([...namedWeights(tensors), ...namedOptimiser(tensors)]);
  await write(path, list, { [KEY]: JSON.stringify(record) });
  // The new name must be on the disk before an old one goes; not every system lets folders be flushed.
  const handle = await open(folder, 'r').catch(() => null);
  await handle?.sync().catch(() => {});
  await handle?.close();
  const names = await listCheckpoints(folder);
  // Those of later steps are of a run that was begun anew.
  const here = names.indexOf(checkpointName(step));
  for (const [i, name] of names.entries())
    if (here >= 0 && (i < here || i >= here + keep)) await unlink(join(folder, name)).catch(() => {});
  return path;
}

/** The training checkpoints of a folder, the newest first. */
export async function listCheckpoints(folder: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  const names = await readdir(folder).catch((): string[] => []);
  const stepOf = (name: string): number => Number(NAME.exec(name)?.[1] ?? -1);
  return names.filter((name) => stepOf(name) >= 0).sort((a, b) => stepOf(b) - stepOf(a));
}

/** Removes what runs that were killed had half written. */
export async function sweep(folder: string): Promise<void> {
  const { readdir, unlink } = await import('node:fs/promises');
  const { join } = await import('node:path');
  for (const name of await readdir(folder).catch((): string[] => []))
    if (LEFT_BEHIND.test(name)) await unlink(join(folder, name)).catch(() => {});
}

/** Makes a record of parsed JSON, or throws InputError where it is none; undefined stands for a file without one. */
export type RecordParser<R> = (json: unknown, path: string) => R;

/** The record of a training checkpoint. Throws InputError for any other file. */
export async function readRecord<R>(path: string, parse: RecordParser<R>): Promise<R> {
  const file = await openCheckpoint(path);
  try {
    const text = file.metadata[KEY];
    return parse(text === undefined ? undefined : parseJson(text, `The record inside ${path}`), path);
  } finally {
    await file.close();
  }
}

/** The weights of a training checkpoint under the names that the model has elsewhere, and its config as JSON. */
export interface TrainedWeights {
  readonly tensors: readonly TensorEntry[];
  readonly config: string | null;
}

/** What of a training checkpoint is the model; null for any other file. */
export function trainedWeights({ tensors, metadata }: Checkpoint, path: string): TrainedWeights | null {
  const text = metadata[KEY];
  if (text === undefined) return null;
  const record = parseJson(text, `The record inside ${path}`) as { model?: unknown; settings?: { model?: unknown } };
  const model = record?.model ?? record?.settings?.model;
  const weights = [...tensors.values()].filter(({ name }) => name.startsWith(MODEL));
  return {
    tensors: weights.map((entry) => ({
      ...entry,
      name: entry.name.slice(MODEL.length),
      read: (into) => entry.read(into),
      stream: (write) => entry.stream(write),
    })),
    config: typeof model === 'object' && model !== null ? JSON.stringify(model) : null,
  };
}

/** The newest readable checkpoint of a folder; `onSkipped` is told why others are not. */
export async function newestCheckpoint<R>(
  folder: string,
  parse: RecordParser<R>,
  onSkipped: (why: string) => void,
): Promise<{ readonly path: string; readonly record: R } | null> {
  const { join } = await import('node:path');
  for (const name of await listCheckpoints(folder)) {
    const path = join(folder, name);
    try {
      return { path, record: await readRecord(path, parse) };
    } catch (error) {
      onSkipped(`Skipped ${path}: ${messageOf(error)}`);
    }
  }
  return null;
}

/**
 * Puts a saved run back: weights, averages, the state of the optimiser and the default generator. Throws InputError, and
 * changes nothing, where a tensor is missing or has another shape.
 */
export async function restoreCheckpoint(path: string, record: SavedState, tensors: TrainedTensors): Promise<void> {
  const file = await openCheckpoint(path);
  try {
    const weights = [...namedWeights(tensors)];
    for (const [name, t] of weights) expectEntry(file.tensors.get(name), t.shape, name, path);
    const states = [...file.tensors.values()].filter(({ name }) => name.startsWith(OPTIMISER));
    makeRoom(tensors.optimiser, states, record);
    const all = [...weights, ...namedOptimiser(tensors)];
    for (const [name, t] of all) expectEntry(file.tensors.get(name), t.shape, name, path);
    for (const [name, t] of all) await fillTensor(t, file.tensors.get(name) as TensorEntry);
    defaultGenerator().restore(record.random);
  } finally {
    await file.close();
  }
}

function expectEntry(
  entry: TensorEntry | undefined,
  shape: readonly number[],
  name: string,
  path: string,
): asserts entry is TensorEntry {
  if (entry && sameShape(entry.shape, shape)) return;
  const got = entry ? `[${entry.shape}]` : 'nothing';
  throw new InputError(`${path} does not fit this run: expected ${name} of shape [${shape}], got ${got}.`);
}

/** Makes the optimiser hold state of these names and shapes: of zeros that take no room until they are its own. */
function makeRoom(optimiser: AdamW, states: readonly TensorEntry[], { stepCounts }: SavedState): void {
  const counts = typeof stepCounts === 'number' ? stepCounts : new Map(Object.entries(stepCounts));
  noGrad(() =>
    scope(() => {
      const zero = zeros([]);
      const blank = ({ name, shape }: TensorEntry): [string, Tensor] => [
        name.slice(OPTIMISER.length),
        expand(
          reshape(
            zero,
            shape.map(() => 1),
          ),
          shape,
        ),
      ];
      optimiser.loadStateDict(new Map(states.map(blank)), counts);
    }),
  );
}

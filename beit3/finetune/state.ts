/**
 * Training checkpoints: one safetensors file with the weights, their averages and the state of the optimiser, and in its
 * metadata all else that is needed to go on to the same numbers. Node only.
 */
import { openCheckpoint, type TensorEntry, writeSafetensors } from '../../checkpoints/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { sameShape } from '../../core/layout.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { expand, reshape, zeros } from '../../core/ops/index.js';
import { defaultGenerator, type GeneratorState } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import type { GradScalerState } from '../../nn/amp.js';
import type { EMA } from '../../nn/ema.js';
import type { Module } from '../../nn/module.js';
import type { AdamW } from '../../nn/optim.js';
import { fillTensor, parseJson, writableTensors } from '../checkpoint.js';
import { flagOf, SETTING_NAMES, SETTINGS, type Settings } from './settings.js';

/** Where a run stands. */
export interface Position {
  /** Steps done. */
  readonly step: number;
  /** The epoch that is under way; after the last one, the number of epochs. */
  readonly epoch: number;
  /** Steps done in it. */
  readonly stepInEpoch: number;
}

export interface Best {
  readonly epoch: number;
  readonly key: string;
  readonly value: number;
}

/** What a training checkpoint holds besides tensors; plain JSON. */
export interface TrainingRecord {
  readonly version: 1;
  /** Official name of the task. */
  readonly task: string;
  readonly settings: Settings;
  /** Sizes of the model, as in an exported checkpoint. */
  readonly model: Readonly<Record<string, unknown>>;
  /** Samples of the training data. */
  readonly samples: number;
  readonly position: Position;
  /** The default generator, which drops paths. */
  readonly random: GeneratorState;
  /** Steps that each parameter has seen; one number where all have seen as many. */
  readonly stepCounts: number | Readonly<Record<string, number>>;
  readonly scaler: GradScalerState | null;
  readonly best: Best | null;
  /** Sums over the steps of the epoch under way. */
  readonly sums: Readonly<Record<string, number>>;
}

/** What of a run is saved as tensors. */
export interface TrainedTensors {
  readonly model: Module;
  readonly optimiser: AdamW;
  readonly ema: EMA | null;
}

const KEY = 'azulejo_training';
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
  for (const [name, t] of model.namedTensors()) yield [`model.${name}`, t];
  for (const [name, t] of ema?.stateDict() ?? []) yield [`ema.${name}`, t];
}

function* namedOptimiser({ optimiser }: TrainedTensors): Generator<[string, Tensor]> {
  for (const [name, t] of optimiser.stateDict()) yield [OPTIMISER + name, t];
}

/** The count that all have, or each its own. */
export function compactCounts(counts: ReadonlyMap<string, number>, all: number): TrainingRecord['stepCounts'] {
  const values = new Set(counts.values());
  return counts.size === all && values.size === 1 ? [...values][0] : Object.fromEntries(counts);
}

/**
 * Saves a run: the file appears whole, flushed to the disk, or not at all; then all but it and those
 * before it, `keep` in all, are removed.
 * Gives the path. Throws InputError when the disk refuses; older checkpoints are then as they were.
 */
export async function saveTraining(
  folder: string,
  record: TrainingRecord,
  tensors: TrainedTensors,
  { keep = 2, write = writeSafetensors }: { readonly keep?: number; readonly write?: Writer } = {},
): Promise<string> {
  const { open, unlink } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const path = join(folder, checkpointName(record.position.step));
  const list = writableTensors([...namedWeights(tensors), ...namedOptimiser(tensors)]);
  await write(path, list, { [KEY]: JSON.stringify(record) });
  // The new name must be on the disk before an old one goes; not every system lets folders be flushed.
  const handle = await open(folder, 'r').catch(() => null);
  await handle?.sync().catch(() => {});
  await handle?.close();
  const names = await listCheckpoints(folder);
  // Those of later steps are of a run that was begun anew.
  const here = names.indexOf(checkpointName(record.position.step));
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

/** What a training checkpoint says of its run. Throws InputError for any other file. */
export async function readTraining(path: string): Promise<TrainingRecord> {
  const file = await openCheckpoint(path);
  try {
    return recordOf(file.metadata, path);
  } finally {
    await file.close();
  }
}

/** The newest readable checkpoint of a folder; `onSkipped` is told why others are not. */
export async function newestTraining(
  folder: string,
  onSkipped: (why: string) => void,
): Promise<{ readonly path: string; readonly record: TrainingRecord } | null> {
  const { join } = await import('node:path');
  for (const name of await listCheckpoints(folder)) {
    const path = join(folder, name);
    try {
      return { path, record: await readTraining(path) };
    } catch (error) {
      onSkipped(`Skipped ${path}: ${messageOf(error)}`);
    }
  }
  return null;
}

function recordOf(metadata: Readonly<Record<string, string>>, path: string): TrainingRecord {
  const text = metadata[KEY];
  if (text === undefined) {
    throw new InputError(
      `${path} is no training checkpoint: it does not say where training stood; give one that beit3 finetune wrote.`,
    );
  }
  const record = parseJson(text, `The record inside ${path}`) as Partial<TrainingRecord> | null;
  const counts = [record?.position?.step, record?.position?.epoch, record?.position?.stepInEpoch, record?.samples];
  const isWhole = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) >= 0;
  const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
  const isNumbers = (value: unknown): boolean =>
    isObject(value) && Object.values(value as object).every((n) => typeof n === 'number');
  const fits =
    record?.version === 1 &&
    typeof record.task === 'string' &&
    counts.every(isWhole) &&
    isObject(record.settings) &&
    isObject(record.model) &&
    isWhole(record.random?.seed) &&
    isWhole(record.random?.counter) &&
    (isWhole(record.stepCounts) || isNumbers(record.stepCounts)) &&
    (record.scaler === null || isNumbers(record.scaler)) &&
    (record.best === null || (isObject(record.best) && typeof record.best?.value === 'number')) &&
    isNumbers(record.sums);
  if (fits) return record as TrainingRecord;
  throw new InputError(
    `${path} is no training checkpoint of this version: its record is incomplete; begin anew with --resume none.`,
  );
}

/** A run as it is started now. */
export type Fingerprint = Pick<TrainingRecord, 'task' | 'settings' | 'model' | 'samples'>;

/** Throws InputError, one sentence, where going on with other settings would give other numbers than one run. */
export function expectSameRun(saved: Fingerprint, now: Fingerprint, path: string): void {
  const refuse = (what: string, before: unknown, after: unknown): never => {
    const [was, is] = [before, after].map((value) => JSON.stringify(value) ?? 'nothing');
    throw new InputError(
      `${path} was written with ${what} ${was}, not ${is}, which would change the numbers; give the same, another --output, or --resume none.`,
    );
  };
  if (saved.task !== now.task) refuse('the task', saved.task, now.task);
  for (const name of SETTING_NAMES) {
    if (SETTINGS[name].free) continue;
    const [before, after] = [saved.settings[name], now.settings[name]];
    if (JSON.stringify(before) !== JSON.stringify(after)) refuse(`--${flagOf(name)}`, before, after);
  }
  for (const key of Object.keys(now.model)) {
    if (key === 'checkpoint_activations') continue;
    if (saved.model[key] !== now.model[key]) refuse(`a model of ${key}`, saved.model[key], now.model[key]);
  }
  if (saved.samples !== now.samples) refuse('a number of samples in --data of', saved.samples, now.samples);
}

/**
 * Puts a saved run back: weights, averages, the state of the optimiser and the default generator. Throws InputError, and
 * changes nothing, where a tensor is missing or has another shape.
 */
export async function restoreTraining(path: string, record: TrainingRecord, tensors: TrainedTensors): Promise<void> {
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
function makeRoom(optimiser: AdamW, states: readonly TensorEntry[], { stepCounts }: TrainingRecord): void {
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

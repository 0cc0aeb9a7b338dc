/** What training checkpoints of fine-tuning say of their run. Node only. */
import { InputError } from '../../core/errors.js';
import type { GradScalerState } from '../../nn/amp.js';
import { newestCheckpoint, readRecord, type SavedState } from '../training/checkpoints.js';
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
export interface TrainingRecord extends SavedState {
  readonly version: 1;
  /** Official name of the task. */
  readonly task: string;
  readonly settings: Settings;
  /** Sizes of the model, as in an exported checkpoint. */
  readonly model: Readonly<Record<string, unknown>>;
  /** Samples of the training data. */
  readonly samples: number;
  readonly position: Position;
  readonly scaler: GradScalerState | null;
  readonly best: Best | null;
  /** Sums over the steps of the epoch under way. */
  readonly sums: Readonly<Record<string, number>>;
}

/** What a training checkpoint says of its run. Throws InputError for any other file. */
export function readTraining(path: string): Promise<TrainingRecord> {
  return readRecord(path, recordOf);
}

/** The newest readable checkpoint of a folder; `onSkipped` is told why others are not. */
export function newestTraining(folder: string, onSkipped: (why: string) => void) {
  return newestCheckpoint(folder, recordOf, onSkipped);
}

function recordOf(json: unknown, path: string): TrainingRecord {
  if (json === undefined) {
    throw new InputError(
      `${path} is no training checkpoint: it does not say where training stood; give one that beit3 finetune wrote.`,
    );
  }
  const record = json as Partial<TrainingRecord> | null;
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

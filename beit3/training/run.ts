/** Training by steps: what is saved, logged and told, and how a run that was ended goes on. Node only. */
import { diskError, ensureFolder } from '../../checkpoints/sink.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError, messageOf } from '../../core/errors.js';
import { defaultGenerator } from '../../core/random.js';
import { nextTurn } from '../../core/runtime.js';
import { schedule } from '../../nn/schedules.js';
import {
  compactCounts,
  newestCheckpoint,
  readRecord,
  restoreCheckpoint,
  type SavedState,
  saveCheckpoint,
  sweep,
  type Writer,
} from './checkpoints.js';
import { RunLog } from './log.js';
import { NotFinite } from './notFinite.js';
import type { SteppedTask } from './task.js';
import { TensorBoardWriter } from './tensorboard.js';

/** Rates: a linear rise to `lr` in `warmupSteps`, then a cosine to `minLr`. */
export interface Rates {
  readonly lr: number;
  readonly minLr: number;
  readonly warmupSteps: number;
}

/** What must be the same for a run to go on to the same numbers; plain JSON. */
export type RunSettings = Readonly<Record<string, unknown>>;

/** A step as it is logged: the numbers of the task and those of the run. */
export interface StepLog {
  readonly type: 'step';
  /** Steps done, this one included. */
  readonly step: number;
  readonly lr: number;
  /** Wall time of the step, and the part of it spent waiting for data. */
  readonly seconds: number;
  readonly dataSeconds: number;
  readonly [name: string]: number | string;
}

export type RunEvent =
  | { readonly type: 'note'; readonly text: string }
  | { readonly type: 'start'; readonly parameters: number; readonly totalSteps: number; readonly from: number }
  | { readonly type: 'saved'; readonly path: string; readonly step: number }
  | StepLog;

export interface RunOptions {
  /** Folder for training checkpoints and the log. */
  readonly output: string;
  /** Steps in all; the rates fall until then. */
  readonly steps: number;
  readonly rates: Rates;
  /** Name of what is trained (`pretrain`), and its settings: a run goes on only where both are as they were. */
  readonly kind: string;
  readonly settings: RunSettings;
  /** End after so many steps, as if the signal came; the rates stay those of `steps`. */
  readonly stopAfter?: number;
  /** Steps between training checkpoints; default 1000. */
  readonly saveFreq?: number;
  /** Training checkpoints that are kept; default 2. */
  readonly keep?: number;
  /** 'auto' (default): go on from the newest checkpoint of the folder; 'none': begin anew; or a checkpoint. */
  readonly resume?: string;
  /** What is told of the weights that a run begins with; a run that goes on has others. */
  readonly beginning?: readonly string[];
  /** Folder for TensorBoard; null for none; default `tensorboard` in the output folder. */
  readonly logDir?: string | null;
  /** Ends the run after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RunEvent) => void;
  /** How checkpoints are written; tests put one in its place that fails. */
  readonly writer?: Writer;
}

/** What whoever starts a run may say of its course. */
export type CourseOptions = Omit<RunOptions, 'steps' | 'rates' | 'kind' | 'settings'>;

export interface RunResult {
  /** Steps done in all. */
  readonly steps: number;
  /** Whether it ended before its last step; it can be resumed. */
  readonly interrupted: boolean;
  /** The newest training checkpoint. */
  readonly checkpoint: string | null;
  readonly log: string;
}

interface StepRecord extends SavedState {
  readonly version: 1;
  readonly kind: string;
  readonly settings: RunSettings;
  readonly step: number;
  /** Where the data stood. */
  readonly data: unknown;
}

const SAVE_FREQ = 1000;
const KEEP = 2;
const FLUSH_SECONDS = 5;

/** Makes the output folder, without what runs that were killed left half written. Throws InputError. */
export async function prepareOutput(folder: string): Promise<void> {
  await ensureFolder(folder).catch((error: unknown) => diskError(folder, error));
  await sweep(folder);
}

/** The learning rate of every step. Throws InputError where the warm-up is longer than the run. */
export function ratesOf({ lr, minLr, warmupSteps }: Rates, steps: number): readonly number[] {
  if (warmupSteps > steps)
    throw new InputError(
      `The warm-up of ${warmupSteps} steps is longer than the run of ${steps}; lower --warmup-steps.`,
    );
  return schedule({ base: lr, final: minLr, epochs: 1, stepsPerEpoch: steps, warmupSteps });
}

/**
 * Makes the steps of a task, and leaves training checkpoints, `log.jsonl` and TensorBoard files in the output folder. A run
 * that was ended, in whatever way, goes on when it is started again with the same settings, to the same numbers.
 *
 * Throws InputError for a folder of another run and for a full disk, and Error when training goes astray.
 */
export async function runSteps<B>(task: SteppedTask<B>, options: RunOptions): Promise<RunResult> {
  const { join } = await import('node:path');
  const { output, steps, signal, onEvent = () => {}, saveFreq = SAVE_FREQ, keep = KEEP } = options;
  const rates = ratesOf(options.rates, steps);
  await prepareOutput(output);
  const note = (text: string): void => onEvent({ type: 'note', text });
  const before = setDefaultBackend(task.model.parameters()[0].backend);
  let checkpoint: string | null = null;
  try {
    const saved = await savedRun(options, note);
    let step = 0;
    if (saved) {
      expectSame(saved.record, options, saved.path);
      await restoreCheckpoint(saved.path, saved.record, { ...tensorsOf(task) });
      await task.data.restore(saved.record.data);
      step = saved.record.step;
      checkpoint = saved.path;
      note(`Resumed from ${saved.path}, after step ${step}.`);
    } else for (const text of options.beginning ?? []) note(text);
    const log = await RunLog.open(join(output, 'log.jsonl'), { step, epoch: 0 });
    const board = await boardOf(options, step);
    onEvent({ type: 'start', parameters: task.model.parameterCount(), totalSteps: steps, from: step });
    const flush = async (): Promise<void> => {
      await log.flush();
      await board?.flush();
    };
    const last = (): string =>
      checkpoint === null ? 'there is no checkpoint yet' : `the last good checkpoint is ${checkpoint}`;
    let savedAt = step;
    let flushed = performance.now();
    const save = async (): Promise<void> => {
      if (savedAt === step && checkpoint !== null) return;
      // What lies before the checkpoint must be in the log: it is not written anew.
      await flush();
      const record: StepRecord = {
        version: 1,
        kind: options.kind,
        settings: settingsOf(options),
        step,
        data: task.data.position(),
        random: defaultGenerator().state(),
        stepCounts: compactCounts(task.optimiser.stepCounts(), task.model.parameters().length),
      };
      try {
        checkpoint = await saveCheckpoint(output, step, record, tensorsOf(task), { keep, write: options.writer });
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        throw new InputError(`${messageOf(error).replace(/\.$/, '')}; ${last()}.`);
      }
      savedAt = step;
      onEvent({ type: 'saved', path: checkpoint, step });
    };
    const until = Math.min(steps, options.stopAfter ?? steps);
    try {
      while (step < until && !signal?.aborted) {
        const begun = performance.now();
        const batch = await task.data.next();
        const ready = performance.now();
        const lr = rates[step];
        let numbers: Readonly<Record<string, number>>;
        try {
          numbers = await task.step(batch, step, lr);
        } catch (error) {
          if (!(error instanceof NotFinite)) throw error;
          const files = [...new Set(error.files)];
          const shown = files.length > 0 ? `; the pictures of its batch are ${files.join(', ')}` : '';
          throw new Error(`${error.message}${shown}; ${last()}; a lower --lr or --clip-grad may help.`);
        }
        step++;
        const seconds = (performance.now() - begun) / 1000;
        const record: StepLog = { type: 'step', step, ...numbers, lr, seconds, dataSeconds: (ready - begun) / 1000 };
        log.add(record);
        board?.add(step, boardTags(numbers, lr));
        onEvent(record);
        if (performance.now() - flushed > 1000 * FLUSH_SECONDS) {
          flushed = performance.now();
          await flush();
        }
        if (step % saveFreq === 0 && step < steps) await save();
        await nextTurn();
      }
      await save();
    } finally {
      await flush();
    }
    return { steps: step, interrupted: step < steps, checkpoint, log: log.path };
  } finally {
    setDefaultBackend(before);
  }
}

function tensorsOf<B>({ model, optimiser }: SteppedTask<B>) {
  return { model, optimiser, ema: null };
}

function boardTags(numbers: Readonly<Record<string, number>>, lr: number): Record<string, number> {
  const tags: Record<string, number> = { 'opt/lr': lr };
  for (const [name, value] of Object.entries(numbers))
    tags[name === 'gradNorm' ? 'opt/grad_norm' : `train/${name}`] = value;
  return tags;
}

async function boardOf({ output, logDir }: RunOptions, step: number): Promise<TensorBoardWriter | null> {
  if (logDir === null) return null;
  const { join } = await import('node:path');
  return TensorBoardWriter.open(logDir ?? join(output, 'tensorboard'), step);
}

async function savedRun({ output, resume = 'auto' }: RunOptions, note: (text: string) => void) {
  if (resume === 'none') return null;
  if (resume === 'auto') return newestCheckpoint(output, recordOf, note);
  return { path: resume, record: await readRecord(resume, recordOf) };
}

function recordOf(json: unknown, path: string): StepRecord {
  const record = json as Partial<StepRecord> | null | undefined;
  const isWhole = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) >= 0;
  const isNumbers = (value: unknown): boolean =>
    typeof value === 'object' && value !== null && Object.values(value).every((n) => isWhole(n));
  const fits =
    record?.version === 1 &&
    typeof record.kind === 'string' &&
    typeof record.settings === 'object' &&
    record.settings !== null &&
    isWhole(record.step) &&
    isWhole(record.random?.seed) &&
    isWhole(record.random?.counter) &&
    (isWhole(record.stepCounts) || isNumbers(record.stepCounts));
  if (fits) return record as StepRecord;
  throw new InputError(
    `${path} is no training checkpoint of a run by steps: it does not say where training stood; begin anew with --resume none.`,
  );
}

/** All that decides on the numbers. */
function settingsOf({ settings, steps, rates }: RunOptions): RunSettings {
  return { ...settings, steps, ...rates };
}

/** Throws InputError, one sentence, where going on with other settings would give other numbers than one run. */
function expectSame(saved: StepRecord, { kind, steps, rates, ...options }: RunOptions, path: string): void {
  const refuse = (what: string, was: unknown, is: unknown): never => {
    const [before, now] = [was, is].map((value) => JSON.stringify(value) ?? 'nothing');
    throw new InputError(
      `${path} was written with ${what} ${before}, not ${now}, which would change the numbers; give the same, another --output, or --resume none.`,
    );
  };
  if (saved.kind !== kind) refuse('the command', saved.kind, kind);
  const settings = settingsOf({ ...options, kind, steps, rates });
  for (const name of new Set([...Object.keys(saved.settings), ...Object.keys(settings)])) {
    const [was, is] = [saved.settings[name], settings[name]];
    if (JSON.stringify(was) !== JSON.stringify(is)) refuse(`--${flagOf(name)}`, was, is);
  }
}

/** maskRule -> mask-rule */
function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

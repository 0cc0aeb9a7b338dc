/** The epochs of a run: steps, validation, what is saved and when. */
import type { WritableTensor } from '../../checkpoints/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { defaultGenerator } from '../../core/random.js';
import { nextTurn } from '../../core/runtime.js';
import { schedule } from '../../nn/schedules.js';
import { writableTensors } from '../checkpoint.js';
import type { Task } from '../config.js';
import type { TaskBatches } from '../data/batch.js';
import type { DataLoader } from '../data/loader/index.js';
import { type EvaluationReport, evaluate } from '../evaluate/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { compactCounts, saveCheckpoint } from '../training/checkpoints.js';
import { exportWeights, trainedConfig } from '../training/export.js';
import { NotFinite } from '../training/notFinite.js';
import { mixerOf, type RunData, trainingLoader, validationLoader } from './data.js';
import type { EpochRecord, FinetuneEvent, StepRecord } from './events.js';
import type { Journal } from './journal.js';
import type { FinetuneOptions } from './options.js';
import type { Settings } from './settings.js';
import type { Best, Fingerprint, Position, TrainingRecord } from './state.js';
import type { Subject } from './subject.js';
import type { StepResult, Trainer } from './trainer.js';

export interface FinetuneResult {
  /** Steps done in all. */
  readonly steps: number;
  /** Whether the run was ended by its signal; it can be resumed. */
  readonly interrupted: boolean;
  readonly best: Best | null;
  /** The exported weights of the last step; none when interrupted. */
  readonly models: readonly string[];
  /** The exported weights of the best epoch. */
  readonly bestModels: readonly string[];
  /** The newest training checkpoint. */
  readonly checkpoint: string | null;
  readonly log: string;
}

/** What a run works with. */
export interface RunParts {
  readonly options: FinetuneOptions;
  readonly settings: Settings;
  readonly subject: Subject;
  readonly data: RunData;
  readonly fingerprint: Fingerprint;
  readonly trainer: Trainer<Task>;
  readonly journal: Journal;
  /** Weights that the reference holds and the task does not use. */
  readonly unused: readonly WritableTensor[];
  readonly tokenizer: Tokenizer | null;
}

const SAVE_EPOCHS = 5;
const KEEP = 2;

export class Run {
  private readonly totalSteps: number;
  private readonly rates: readonly number[];
  private readonly onEvent: (event: FinetuneEvent) => void;
  private position: Position = { step: 0, epoch: 0, stepInEpoch: 0 };
  private best: Best | null = null;
  /** Over the steps of the epoch under way. */
  private sums: Record<string, number> = {};
  private checkpoint: string | null = null;
  private savedAt = -1;
  private validationLoader: DataLoader<Task> | null = null;

  constructor(
    private readonly parts: RunParts,
    saved: { readonly path: string; readonly record: TrainingRecord } | null,
  ) {
    const { options, settings, data } = parts;
    const { lr, minLr, epochs, warmupEpochs, warmupSteps } = settings;
    const { stepsPerEpoch } = data;
    this.rates = schedule({ base: lr, final: minLr, epochs, stepsPerEpoch, warmupEpochs, warmupSteps });
    this.totalSteps = Math.min(options.steps ?? Number.POSITIVE_INFINITY, this.rates.length);
    this.onEvent = options.onEvent ?? (() => {});
    if (saved === null) return;
    this.position = saved.record.position;
    this.best = saved.record.best;
    this.sums = { ...saved.record.sums };
    this.checkpoint = saved.path;
    this.savedAt = this.position.step;
  }

  async run(): Promise<FinetuneResult> {
    const { data, settings, subject, trainer } = this.parts;
    this.onEvent({
      type: 'start',
      samples: data.train.size,
      parameters: trainer.model.parameterCount(),
      epochs: settings.epochs,
      stepsPerEpoch: data.stepsPerEpoch,
      totalSteps: this.totalSteps,
      samplesPerStep: settings.batchSize * settings.updateFreq,
      batchSize: settings.batchSize,
      from: this.position.step,
    });
    const loader = trainingLoader(data, subject, settings, (where, reason) => this.note(`Skipped ${where}: ${reason}`));
    let done: boolean;
    try {
      done = await this.epochs(loader);
    } finally {
      await loader.close();
      await this.validationLoader?.close();
      await this.parts.journal.flush();
    }
    if (loader.skippedCount > 0) this.note(`Skipped ${loader.skippedCount} samples whose files are broken.`);
    return {
      steps: this.position.step,
      interrupted: !done,
      best: this.best,
      models: done ? await this.export('model') : [],
      bestModels: await this.existing('model-best'),
      checkpoint: this.checkpoint,
      log: this.parts.journal.log.path,
    };
  }

  /** Resolves to false when the signal ended the run. */
  private async epochs(loader: DataLoader<Task>): Promise<boolean> {
    const { settings, data, options } = this.parts;
    while (this.position.epoch < settings.epochs) {
      const { epoch } = this.position;
      if (!(await this.steps(loader))) return this.leave();
      const isWhole = this.position.stepInEpoch === data.stepsPerEpoch;
      const isLast = this.position.step >= this.totalSteps;
      const every = options.saveCkptFreq ?? SAVE_EPOCHS;
      if (isLast || (isWhole && (epoch + 1) % every === 0)) await this.save();
      if (!(await this.endEpoch())) return this.leave();
      if (isWhole) {
        this.position = { step: this.position.step, epoch: epoch + 1, stepInEpoch: 0 };
        this.sums = {};
      }
      if (!isLast) continue;
      // Once more, with what validation has found.
      if (isWhole) await this.save(true);
      break;
    }
    return true;
  }

  /** The rest of the steps of the epoch; resolves to false when the signal fired. */
  private async steps(loader: DataLoader<Task>): Promise<boolean> {
    const { settings, data, options, subject } = this.parts;
    const { epoch } = this.position;
    const mix = mixerOf(subject.task, subject.numClasses, settings);
    let number = this.position.stepInEpoch * settings.updateFreq;
    const isDone = (): boolean =>
      this.position.stepInEpoch >= data.stepsPerEpoch || this.position.step >= this.totalSteps;
    if (isDone()) return !options.signal?.aborted;
    const batches = loader.epoch(epoch, number);
    let waited = 0;
    const next = async (): Promise<TaskBatches[Task]> => {
      const begun = performance.now();
      const { value, done } = await batches.next();
      waited += (performance.now() - begun) / 1000;
      if (done || value === undefined) throw new Error(`The loader ended before epoch ${epoch + 1} was over.`);
      return mix(value, epoch, number++);
    };
    try {
      while (!isDone()) {
        if (options.signal?.aborted) return false;
        const begun = performance.now();
        waited = 0;
        const result = await this.step(next);
        await this.record(result, (performance.now() - begun) / 1000, waited);
        if (options.saveSteps !== undefined && this.position.step % options.saveSteps === 0) await this.save();
        await nextTurn();
      }
      return !options.signal?.aborted;
    } finally {
      await batches.return();
    }
  }

  private async step(next: () => Promise<TaskBatches[Task]>): Promise<StepResult> {
    const { step } = this.position;
    try {
      return await this.parts.trainer.step(next, step, this.rates[step]);
    } catch (error) {
      if (!(error instanceof NotFinite)) throw error;
      await this.parts.journal.flush();
      throw new Error(
        `${error.message}; the pictures of its batch are ${[...new Set(error.files)].join(', ')}; ${this.lastGood()}; a lower --lr or --clip-grad may help.`,
      );
    }
  }

  private lastGood(): string {
    return this.checkpoint === null ? 'there is no checkpoint yet' : `the last good checkpoint is ${this.checkpoint}`;
  }

  private async record({ loss, metrics, gradNorm, lossScale }: StepResult, seconds: number, dataSeconds: number) {
    const { settings, trainer, journal } = this.parts;
    const { step, epoch, stepInEpoch } = this.position;
    const rate = this.rates[step];
    const record: StepRecord = {
      type: 'step',
      step: step + 1,
      epoch,
      loss,
      ...metrics,
      lr: rate * trainer.lrScales[0],
      minLr: rate * trainer.lrScales[1],
      weightDecay: trainer.weightDecay,
      gradNorm,
      ...(lossScale === undefined ? {} : { lossScale }),
      seconds,
      dataSeconds,
      samples: settings.batchSize * settings.updateFreq,
    };
    const add = (name: string, value: number): void => {
      this.sums[name] = (this.sums[name] ?? 0) + value;
    };
    for (const [name, value] of Object.entries({ steps: 1, loss, ...metrics })) add(name, value);
    if (gradNorm !== null) {
      add('gradNorm', gradNorm);
      add('gradNormSteps', 1);
    }
    this.position = { step: step + 1, epoch, stepInEpoch: stepInEpoch + 1 };
    await journal.step(record);
    this.onEvent(record);
  }

  /** Validates and logs the epoch; resolves to false when the signal fired. */
  private async endEpoch(): Promise<boolean> {
    const { trainer, journal } = this.parts;
    const { epoch, step } = this.position;
    const report = await this.validate();
    if (report === 'ended') return false;
    const key = report?.key ?? null;
    const value = key === null ? undefined : report?.metrics[key];
    // As in the reference, a model that has learnt nothing is never the best.
    const isBest = value !== undefined && value > (this.best?.value ?? 0);
    if (isBest && key !== null) {
      this.best = { epoch, key, value };
      await this.export('model-best');
    }
    const { steps, gradNorm, gradNormSteps, ...sums } = this.sums;
    const train = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / steps]));
    if (gradNormSteps > 0) train.gradNorm = gradNorm / gradNormSteps;
    const record: EpochRecord = {
      type: 'epoch',
      epoch,
      step,
      train,
      validation: report?.metrics ?? null,
      key,
      isBest,
      parameters: trainer.model.parameterCount(),
    };
    await journal.epoch(record);
    this.onEvent(record);
    return true;
  }

  private async validate(): Promise<EvaluationReport | null | 'ended'> {
    const { data, subject, settings, trainer, tokenizer, options } = this.parts;
    const { validation } = data;
    if (validation === null) return null;
    this.validationLoader ??= validationLoader(validation.samples, subject, settings);
    const loader = this.validationLoader;
    const judge = () =>
      evaluate(subject.task, trainer.model, loader.epoch(0), {
        signal: options.signal,
        tokenizer: tokenizer ?? undefined,
        answers: validation.answers,
        references: validation.references,
        numBeams: settings.numBeams,
        lengthPenalty: settings.lengthPenalty,
        maxLength: settings.numMaxBpeTokens,
        onProgress: (done) => this.onEvent({ type: 'validation', done, total: validation.samples.size }),
      });
    try {
      return await (trainer.ema ? trainer.ema.with(judge) : judge());
    } catch (error) {
      if (options.signal?.aborted) return 'ended';
      throw error;
    }
  }

  /** Saves where the run stands, once; `again` also where nothing but validation has happened since. */
  private async save(again = false): Promise<void> {
    const { options, fingerprint, trainer, journal } = this.parts;
    if (options.saveCkpt === false || (!again && this.savedAt === this.position.step)) return;
    // What lies before the checkpoint must be in the log: it is not written anew.
    await journal.flush();
    const parameters = trainer.model.parameters().length;
    const record: TrainingRecord = {
      version: 1,
      ...fingerprint,
      position: this.position,
      random: defaultGenerator().state(),
      stepCounts: compactCounts(trainer.optimiser.stepCounts(), parameters),
      scaler: trainer.scaler?.state() ?? null,
      best: this.best,
      sums: this.sums,
    };
    const keep = options.keep ?? KEEP;
    try {
      this.checkpoint = await saveCheckpoint(options.output, record.position.step, record, trainer, {
        keep,
        write: options.writer,
      });
    } catch (error) {
      throw error instanceof InputError
        ? new InputError(`${messageOf(error).replace(/\.$/, '')}; ${this.lastGood()}.`)
        : error;
    }
    this.savedAt = this.position.step;
    if (!again) this.onEvent({ type: 'saved', path: this.checkpoint, step: this.position.step });
  }

  private async leave(): Promise<false> {
    await this.save();
    return false;
  }

  private async export(name: string): Promise<string[]> {
    const { join } = await import('node:path');
    const { options, trainer, unused, subject } = this.parts;
    const weights = new Map([...trainer.model.namedTensors(), ...(trainer.ema?.stateDict() ?? [])]);
    return exportWeights(
      join(options.output, name),
      options.exportFormat ?? 'safetensors',
      [...writableTensors(weights), ...unused],
      trainedConfig(subject.description),
    );
  }

  /** What was exported under a name, now or before the run was resumed. */
  private async existing(name: string): Promise<string[]> {
    const { access } = await import('node:fs/promises');
    const { join } = await import('node:path');
    const paths = ['safetensors', 'pth'].map((ending) => join(this.parts.options.output, `${name}.${ending}`));
    const isThere = await Promise.all(
      paths.map((path) =>
        access(path).then(
          () => true,
          () => false,
        ),
      ),
    );
    return this.best === null ? [] : paths.filter((_, i) => isThere[i]);
  }

  private note(text: string): void {
    this.onEvent({ type: 'note', text });
  }
}

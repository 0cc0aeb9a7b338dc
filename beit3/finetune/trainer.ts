/** One optimiser step after the other. */
import '../../autograd/index.js';
import { type CapturedStep, capture } from '../../core/capture.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { affine, globalNorm } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import { autocast, GradScaler } from '../../nn/amp.js';
import type { Parameter } from '../../nn/builder.js';
import { EMA } from '../../nn/ema.js';
import { AdamW } from '../../nn/optim.js';
import type { Task } from '../config.js';
import type { TaskBatches } from '../data/batch.js';
import { trainingLoss } from '../tasks/index.js';
import { NotFinite } from '../training/notFinite.js';
import { takeItem } from '../training/scalar.js';
import { ReplayedSteps, type StepTensors } from './replay.js';
import type { Settings } from './settings.js';
import type { Subject, TrainedModel } from './subject.js';

/** Means over the batches of a step. */
export interface StepResult {
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Before clipping; null for a step that overflowed in mixed precision and was left out. */
  readonly gradNorm: number | null;
  readonly lossScale: number | undefined;
}

export class Trainer<T extends Task> {
  readonly optimiser: AdamW;
  readonly ema: EMA | null;
  readonly scaler: GradScaler | null;
  /** The largest and the smallest factor on the learning rate, and the weight decay. */
  readonly lrScales: readonly [highest: number, lowest: number];
  readonly weightDecay: number;
  readonly #parameters: readonly Parameter[];
  /** Where steps are replayed. */
  readonly #replayed: ReplayedSteps<TaskBatches[T]> | null = null;
  readonly #average: CapturedStep<[], unknown> | null = null;
  /** The step that is made. */
  #number = 0;

  constructor(
    private readonly subject: Subject<T>,
    readonly model: TrainedModel<T>,
    private readonly settings: Settings,
  ) {
    const { optBetas, optEps } = settings;
    const groups = subject.groups(model, settings);
    const scales = groups.map(({ lrScale = 1 }) => lrScale);
    this.lrScales = [Math.max(...scales), Math.min(...scales)];
    this.weightDecay = Math.max(...groups.map((group) => group.weightDecay ?? 0));
    this.optimiser = new AdamW(groups, { betas: optBetas, eps: optEps, halfCopies: settings.amp });
    this.ema = settings.modelEma ? new EMA(model, settings.modelEmaDecay) : null;
    this.scaler = settings.amp ? new GradScaler() : null;
    this.#parameters = groups.flatMap(({ parameters }) => parameters.map(([, p]) => p));
    const trained = new Set(this.#parameters);
    for (const p of model.parameters()) p.requireGrad(trained.has(p));
    if (settings.replay && this.#parameters[0].backend.record) {
      this.#replayed = new ReplayedSteps((batches) => this.#wholeStep(batches));
      // On its own: a step that overflows leaves it out.
      this.#average = this.ema && capture(() => this.ema?.update());
    }
  }

  /**
   * Makes step number `step` (from 0) out of `updateFreq` batches. Throws NotFinite, and changes no weight, when a loss is
   * no number; when the gradients are none, or when steps are replayed, the weights are lost.
   */
  async step(next: () => Promise<TaskBatches[T]>, step: number, lr: number): Promise<StepResult> {
    if (this.#replayed) return this.#replay(this.#replayed, next, step, lr);
    const { updateFreq } = this.settings;
    const losses: number[] = [];
    const sums: Record<string, number> = {};
    const files: string[] = [];
    for (let i = 0; i < updateFreq; i++) {
      const batch = await next();
      const { loss, metrics } = await this.#accumulate(batch, step);
      if (!Number.isFinite(loss)) throw new NotFinite(`The loss is ${loss}`, step, batch.files);
      losses.push(loss);
      for (const [name, value] of Object.entries(metrics)) sums[name] = (sums[name] ?? 0) + value;
      files.push(...batch.files);
    }
    const lossScale = this.scaler?.scale;
    const gradNorm = this.scaler ? await this.#scaledStep(this.scaler, lr) : await this.#plainStep(lr, step, files);
    if (gradNorm !== null) this.ema?.update();
    this.optimiser.zeroGrad();
    const mean = (sum: number): number => sum / updateFreq;
    return {
      loss: mean(losses.reduce((a, b) => a + b, 0)),
      metrics: Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, mean(sum)])),
      gradNorm,
      lossScale,
    };
  }

  /** Updates the weights; the norm of the gradients. */
  async #plainStep(lr: number, step: number, files: readonly string[]): Promise<number> {
    const { clipGrad } = this.settings;
    const norm = await takeItem(clipGrad === null ? this.#norm() : this.optimiser.step({ lr, maxNorm: clipGrad }));
    if (!Number.isFinite(norm)) throw new NotFinite(`The norm of the gradients is ${norm}`, step, files);
    if (clipGrad === null) this.optimiser.step({ lr });
    return norm;
  }

  /** The same for gradients of a scaled loss; null when they have overflowed, and nothing has changed. */
  async #scaledStep(scaler: GradScaler, lr: number): Promise<number | null> {
    const { scale } = scaler;
    const norm = await takeItem(this.optimiser.step({ lr, maxNorm: this.settings.clipGrad ?? 0, scale }));
    const holds = Number.isFinite(norm);
    if (!holds) this.optimiser.takeBack();
    scaler.update(holds);
    return holds ? norm : null;
  }

  async #replay(
    steps: ReplayedSteps<TaskBatches[T]>,
    next: () => Promise<TaskBatches[T]>,
    step: number,
    lr: number,
  ): Promise<StepResult> {
    const { updateFreq, dropWorstAfter } = this.settings;
    const batches: TaskBatches[T][] = [];
    for (let i = 0; i < updateFreq; i++) batches.push(await next());
    this.optimiser.lr = lr;
    this.#number = step;
    const { norm, parts } = steps.run(batches, `${step > dropWorstAfter}`);
    const sums: Record<string, number> = {};
    for (const part of parts)
      for (const [name, t] of Object.entries(part)) sums[name] = (sums[name] ?? 0) + (await takeItem(t));
    const gradNorm = await takeItem(norm);
    const means = Object.entries(sums).map(([name, sum]) => [name, sum / updateFreq] as const);
    const { loss, ...metrics } = Object.fromEntries(means);
    const files = batches.flatMap((batch) => batch.files);
    if (!Number.isFinite(loss)) throw new NotFinite(`The loss is ${loss}`, step, files);
    const lossScale = this.scaler?.scale;
    const holds = Number.isFinite(gradNorm);
    if (holds) this.#average?.();
    else if (this.scaler) this.optimiser.takeBack();
    else throw new NotFinite(`The norm of the gradients is ${gradNorm}`, step, files);
    this.scaler?.update(holds);
    return { loss, metrics, gradNorm: holds ? gradNorm : null, lossScale };
  }

  /** All that a step does on the device. */
  #wholeStep(batches: readonly TaskBatches[T][]): StepTensors {
    const { scaler, optimiser } = this;
    const { clipGrad } = this.settings;
    const parts = batches.map((batch) => {
      const { loss, metrics } = this.#backward(batch, this.#number);
      return { ...metrics, loss };
    });
    let norm: Tensor | null;
    if (scaler) norm = optimiser.step({ maxNorm: clipGrad ?? 0, scale: () => scaler.scale });
    else if (clipGrad !== null) norm = optimiser.step({ maxNorm: clipGrad });
    else {
      norm = this.#norm();
      optimiser.step();
    }
    optimiser.zeroGrad();
    return { parts, norm };
  }

  /** Adds the gradients of a batch to those there are. */
  #backward(batch: TaskBatches[T], step: number): { loss: Tensor; metrics: Readonly<Record<string, Tensor>> } {
    const { updateFreq, labelSmoothing, dropWorstRatio, dropWorstAfter } = this.settings;
    const options = { labelSmoothing, dropWorstRatio, dropWorstAfter, step };
    const forward = () => trainingLoss(this.subject.task, this.model, batch, options);
    return scope(() => {
      const result = this.settings.amp ? autocast(this.#parameters[0].backend, forward) : forward();
      const { loss } = result;
      if (this.scaler) this.scaler.scaleLoss(loss, updateFreq).backward();
      else (updateFreq === 1 ? loss : affine(loss, 1 / updateFreq, 0)).backward();
      return { loss: loss.detach(), metrics: result.metrics };
    });
  }

  /** The same, with the numbers read. */
  async #accumulate(batch: TaskBatches[T], step: number): Promise<{ loss: number; metrics: Record<string, number> }> {
    const { loss, metrics } = this.#backward(batch, step);
    const values: Record<string, number> = {};
    for (const [name, t] of Object.entries(metrics)) values[name] = await takeItem(t);
    return { loss: await takeItem(loss), metrics: values };
  }

  #norm(): Tensor {
    const grads = this.#parameters.flatMap((p) => (p.grad === null ? [] : [p.grad]));
    return noGrad(() => scope(() => globalNorm(grads)));
  }

  /** Frees all but the model. */
  dispose(): void {
    this.#replayed?.dispose();
    this.#average?.dispose();
    this.optimiser.dispose();
    this.ema?.dispose();
  }
}

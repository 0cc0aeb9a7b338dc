import { noGrad } from '../../core/modes.js';
import { argmax, cast, equal, mean } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Task } from '../config.js';
import type { TaskBatches } from '../data/batch.js';
import type { TaskModels } from '../heads/index.js';

/** How the loss of a step is made; the defaults are those of the reference. */
export interface TrainingLossOptions {
  /** Image classification (where pictures are not mixed) and captioning; default 0.1. */
  readonly labelSmoothing?: number;
  /** Captioning: the part of the words, those of the highest loss, that does not count; default 0.2. */
  readonly dropWorstRatio?: number;
  /** Captioning: until this step, it included, all words count; default 12000. */
  readonly dropWorstAfter?: number;
  /** The training step, from 0; default 0. */
  readonly step?: number;
}

/** What a batch gives: tensors, so that nothing waits for a number that nobody reads. */
export interface TrainingLoss {
  /** float32 scalar, to be differentiated. */
  readonly loss: Tensor;
  /** float32 scalars by name; `acc` is a share from 0 to 1. */
  readonly metrics: Readonly<Record<string, Tensor>>;
}

/** The loss of one task, as its handler in the reference has it. */
export type LossOf<T extends Task> = (
  model: TaskModels[T],
  batch: TaskBatches[T],
  options: TrainingLossOptions,
) => TrainingLoss;

/** Share of rows of logits [N, C] whose largest is that of their label (int32 [N]). */
export function accuracyOf(logits: Tensor, labels: Tensor): Tensor {
  return noGrad(() => mean(cast(equal(argmax(logits, -1), labels), 'float32')));
}

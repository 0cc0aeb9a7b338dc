/** What each task is trained on: from a batch to a loss. */
import { scope } from '../../core/memory.js';
import type { Task } from '../config.js';
import type { TaskBatches } from '../data/batch.js';
import type { TaskModels } from '../heads/index.js';
import { captioningLoss } from './captioning.js';
import { classificationLoss } from './imageclassification.js';
import { nlvr2Loss } from './nlvr2.js';
import { retrievalLoss } from './retrieval.js';
import type { LossOf, TrainingLoss, TrainingLossOptions } from './task.js';
import { vqaLoss } from './vqav2.js';

export type { TrainingLoss, TrainingLossOptions } from './task.js';

const LOSSES: { readonly [T in Task]: LossOf<T> } = {
  imageclassification: classificationLoss,
  vqav2: vqaLoss,
  nlvr2: nlvr2Loss,
  captioning: captioningLoss,
  retrieval: retrievalLoss,
};

/**
 * The loss of a batch and what else is worth logging, on the backend of the model's weights, as the handlers of the
 * reference's engine compute them. Only the results outlive the call: give them to a `scope` or dispose of them. Throws
 * InputError for questions without answers.
 */
export function trainingLoss<T extends Task>(
  task: T,
  model: TaskModels[T],
  batch: TaskBatches[T],
  options: TrainingLossOptions = {},
): TrainingLoss {
  return scope(() => LOSSES[task](model, batch, options));
}

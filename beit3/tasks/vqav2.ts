import { InputError } from '../../core/errors.js';
import { affine } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { bceWithLogits } from '../../nn/losses.js';
import type { VqaBatch } from '../data/batch.js';
import type { VisualQuestionAnswering } from '../heads/index.js';
import { backendOf, imagesOf, paddingOf, textOf } from './inputs.js';
import type { LossOf } from './task.js';

/** Logits [B, answers]. */
export function vqaLogits(model: VisualQuestionAnswering, batch: VqaBatch): Tensor {
  const backend = backendOf(model);
  return model.forward(imagesOf(batch, backend), textOf(batch, model), paddingOf(batch, backend));
}

/** Binary cross entropy summed over the answers and averaged over the questions. */
export const vqaLoss: LossOf<'vqav2'> = (model, batch) => {
  if (batch.scores === null) {
    throw new InputError(
      'Expected questions with answers to train on, got those of a test split; use the train or val split.',
    );
  }
  const logits = vqaLogits(model, batch);
  const { shape, backend } = logits;
  const scores = fresh(() => tensor(batch.scores as Float32Array, { shape, backend }));
  return { loss: affine(bceWithLogits(logits, scores), logits.shape[1], 0), metrics: {} };
};

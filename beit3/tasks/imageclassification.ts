import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { crossEntropy } from '../../nn/losses.js';
import type { ClassificationBatch } from '../data/batch.js';
import type { ImageClassifier } from '../heads/index.js';
import { backendOf, imagesOf } from './inputs.js';
import { accuracyOf, type LossOf, type TrainingLoss } from './task.js';

/** Logits [B, classes]. */
export function classificationLogits(model: ImageClassifier, batch: ClassificationBatch): Tensor {
  return model.forward(imagesOf(batch, backendOf(model)));
}

/** Cross entropy: with smoothed labels, or with soft targets where mixup has mixed and smoothed them. */
export const classificationLoss: LossOf<'imageclassification'> = (
  model,
  batch,
  { labelSmoothing = 0.1 },
): TrainingLoss => {
  const logits = classificationLogits(model, batch);
  const { backend } = logits;
  if (batch.targets !== null) {
    const targets = fresh(() => tensor(batch.targets as Float32Array, { shape: logits.shape, backend }));
    return { loss: crossEntropy(logits, targets), metrics: {} };
  }
  const labels = fresh(() => tensor(batch.labels, { backend }));
  return { loss: crossEntropy(logits, labels, { labelSmoothing }), metrics: { acc: accuracyOf(logits, labels) } };
};

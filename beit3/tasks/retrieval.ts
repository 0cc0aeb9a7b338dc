import type { Tensor } from '../../core/tensor.js';
import type { RetrievalBatch } from '../data/batch.js';
import type { Retrieval } from '../heads/index.js';
import { backendOf, imagesOf, paddingOf, textOf } from './inputs.js';
import type { LossOf } from './task.js';

/** Unit vectors [B, D] of the texts. */
export function textFeatures(model: Retrieval, batch: RetrievalBatch): Tensor {
  const backend = backendOf(model);
  return model.embedText(textOf(batch, model), paddingOf(batch, backend));
}

/** The contrastive loss of the pairs of the batch. */
export const retrievalLoss: LossOf<'retrieval'> = (model, batch) => {
  const backend = backendOf(model);
  const { loss } = model.forward(imagesOf(batch, backend), textOf(batch, model), paddingOf(batch, backend));
  return { loss, metrics: {} };
};

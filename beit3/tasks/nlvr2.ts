import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { crossEntropy } from '../../nn/losses.js';
import type { Nlvr2Batch } from '../data/batch.js';
import type { VisualReasoning } from '../heads/index.js';
import { backendOf, imagesOf, paddingOf, textOf } from './inputs.js';
import { accuracyOf, type LossOf } from './task.js';

/** Logits [B, 2] (false, true). */
export function nlvr2Logits(model: VisualReasoning, batch: Nlvr2Batch): Tensor {
  const backend = backendOf(model);
  return model.forward(
    imagesOf(batch, backend),
    imagesOf(batch, backend, () => batch.images2),
    textOf(batch, model),
    paddingOf(batch, backend),
  );
}

/** Cross entropy, without smoothing. */
export const nlvr2Loss: LossOf<'nlvr2'> = (model, batch) => {
  const logits = nlvr2Logits(model, batch);
  const { backend } = logits;
  const labels = fresh(() => tensor(batch.labels, { backend }));
  return { loss: crossEntropy(logits, labels), metrics: { acc: accuracyOf(logits, labels) } };
};

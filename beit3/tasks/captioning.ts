import { tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { captioningLoss as smoothedLoss } from '../../nn/losses.js';
import { backendOf, imagesOf, paddingOf, textOf } from './inputs.js';
import { accuracyOf, type LossOf } from './task.js';

/** Divergence of the masked words from smoothed targets, without the hardest words late in training. */
export const captioningLoss: LossOf<'captioning'> = (model, batch, options) => {
  const backend = backendOf(model);
  const logits = model.forward(
    imagesOf(batch, backend),
    textOf(batch, model, () => batch.masked),
    paddingOf(batch, backend),
    fresh(() => tensor(batch.predict, { backend })),
  );
  const targets = fresh(() => tensor(batch.targets, { backend }));
  return { loss: smoothedLoss(logits, targets, options), metrics: { acc: accuracyOf(logits, targets) } };
};

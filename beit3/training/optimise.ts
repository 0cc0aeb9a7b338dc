/** What steps of all kinds end with. */
import type { AdamW } from '../../nn/optim.js';
import { NotFinite } from './notFinite.js';
import { takeItem } from './scalar.js';

export interface OptimisedStep {
  readonly lr: number;
  /** Most norm of all gradients; null for no clipping. */
  readonly clipGrad: number | null;
  /** What was differentiated. */
  readonly loss: number;
  /** From 0. */
  readonly step: number;
  /** Pictures of the batches, for messages. */
  readonly files: readonly string[];
}

/**
 * Changes the weights by their gradients, which are freed; gives their norm before clipping. Throws NotFinite where the loss
 * is no number, and then changes nothing, or the gradients are none.
 */
export async function optimise(optimiser: AdamW, { lr, clipGrad, loss, step, files }: OptimisedStep): Promise<number> {
  if (!Number.isFinite(loss)) {
    optimiser.zeroGrad();
    throw new NotFinite(`The loss is ${loss}`, step, files);
  }
  const norm = optimiser.step({ lr, maxNorm: clipGrad ?? Number.POSITIVE_INFINITY });
  optimiser.zeroGrad();
  const gradNorm = await takeItem(norm);
  if (!Number.isFinite(gradNorm)) throw new NotFinite(`The norm of the gradients is ${gradNorm}`, step, files);
  return gradNorm;
}

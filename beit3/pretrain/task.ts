/** Masked data modelling as a task of steps. */
import { AdamW } from '../../nn/optim.js';
import { layerDecayGroups } from '../layerDecay.js';
import { optimise } from '../training/optimise.js';
import { takeItem } from '../training/scalar.js';
import type { SteppedTask } from '../training/task.js';
import type { ImageTokenizer } from '../vqkd/imageTokenizer.js';
import type { PretrainBatch } from './batch.js';
import { EQUAL_WEIGHTS, LOSSES, type LossName, type LossWeights, type MaskedLosses, maskedLosses } from './losses.js';
import type { Pretraining } from './model.js';

export interface PretrainTaskOptions {
  readonly weights?: LossWeights;
  readonly weightDecay?: number;
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  /** Most norm of all gradients; null for no clipping. */
  readonly clipGrad?: number | null;
}

/** The numbers of a step by the names under which they are logged: `image`, `imageAcc`, `text`, ... */
export type MaskedNumbers = Partial<Record<LossName | `${LossName}Acc`, number>>;

/** Reads and frees what `maskedLosses` gave. */
export async function readLosses(losses: MaskedLosses): Promise<MaskedNumbers> {
  const numbers: MaskedNumbers = {};
  for (const name of LOSSES) {
    const found = losses[name];
    if (!found) continue;
    numbers[name] = await takeItem(found.loss);
    numbers[`${name}Acc`] = await takeItem(found.accuracy);
  }
  return numbers;
}

/** Pretrains a BEiT-3 on masked pictures, texts and pairs. The tokenizer stays as it is. */
export class PretrainTask implements SteppedTask<readonly PretrainBatch[]> {
  readonly optimiser: AdamW;
  readonly #options: Required<PretrainTaskOptions>;

  constructor(
    readonly model: Pretraining,
    private readonly tokenizer: ImageTokenizer,
    readonly data: SteppedTask<readonly PretrainBatch[]>['data'],
    {
      weights = EQUAL_WEIGHTS,
      weightDecay = 0.05,
      betas = [0.9, 0.98],
      eps = 1e-6,
      clipGrad = 3,
    }: PretrainTaskOptions = {},
  ) {
    this.#options = { weights, weightDecay, betas, eps, clipGrad };
    const layers = model.beit3.encoder.layers.length;
    this.optimiser = new AdamW(layerDecayGroups(model, { layers, weightDecay }), { betas, eps });
  }

  /**
   * A step out of batches whose gradients are added up. Gives `loss` (the weighted sum), the loss and the accuracy of each
   * kind, all meaned over the batches, and `gradNorm`.
   */
  async step(batches: readonly PretrainBatch[], step: number, lr: number): Promise<Readonly<Record<string, number>>> {
    const { weights, clipGrad } = this.#options;
    const share = 1 / batches.length;
    const scaled = Object.fromEntries(LOSSES.map((name) => [name, weights[name] * share])) as LossWeights;
    this.model.train();
    const numbers: Record<string, number> = {};
    for (const batch of batches) {
      const own = await readLosses(maskedLosses(this.model, this.tokenizer, batch, { weights: scaled }));
      for (const [name, value] of Object.entries(own)) numbers[name] = (numbers[name] ?? 0) + share * value;
    }
    const loss = LOSSES.reduce((sum, name) => sum + weights[name] * (numbers[name] ?? 0), 0);
    const files = batches.flatMap(({ images, pairs }) => [...(images?.files ?? []), ...(pairs?.images.files ?? [])]);
    const gradNorm = await optimise(this.optimiser, { lr, clipGrad, loss, step, files });
    return { loss, ...numbers, gradNorm };
  }

  /** Frees the optimiser's state; the model, the tokenizer and the data are the caller's. */
  dispose(): void {
    this.optimiser.dispose();
  }
}

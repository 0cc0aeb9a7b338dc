/** Image-text contrastive tuning as a task of steps. */
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { assign, clamp } from '../../core/ops/index.js';
import type { Module } from '../../nn/module.js';
import { AdamW } from '../../nn/optim.js';
import type { Beit3Config } from '../config.js';
import type { RetrievalBatch } from '../data/batch.js';
import type { Retrieval } from '../heads/index.js';
import { layerDecayGroups } from '../layerDecay.js';
import { optimise } from '../training/optimise.js';
import { takeItem } from '../training/scalar.js';
import type { SteppedTask } from '../training/task.js';
import { cachedContrastiveGradients } from './cachedGradients.js';

/** The largest factor on similarities, as in CLIP (Radford et al. 2021): beyond it training gets unsteady. */
export const MOST_LOGIT_SCALE = 100;

export interface ItcTaskOptions {
  readonly config: Beit3Config;
  readonly layerDecay: number;
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Most norm of all gradients; null for no clipping. */
  readonly clipGrad: number | null;
}

/** A step's pairs, cut into the chunks that are run one after the other. */
export type Chunks = readonly RetrievalBatch[];

/** Tunes a dual encoder so that pictures and their texts meet; the temperature is learnt and kept within 1 to 100. */
export class ItcTask implements SteppedTask<Chunks> {
  readonly optimiser: AdamW;

  constructor(
    readonly model: Retrieval & Module,
    readonly data: SteppedTask<Chunks>['data'],
    private readonly options: ItcTaskOptions,
  ) {
    const { config, layerDecay, weightDecay, betas, eps } = options;
    const groups = layerDecayGroups(model, { layers: config.encoder_layers, layerDecay, weightDecay });
    this.optimiser = new AdamW(groups, { betas, eps });
  }

  async step(chunks: Chunks, step: number, lr: number): Promise<Readonly<Record<string, number>>> {
    const { model, optimiser } = this;
    const files = chunks.flatMap((chunk) => chunk.files);
    model.train();
    const made = await cachedContrastiveGradients(model, chunks);
    const [loss, acc] = [await takeItem(made.loss), await takeItem(made.accuracy)];
    const gradNorm = await optimise(optimiser, { lr, clipGrad: this.options.clipGrad, loss, step, files });
    const { logit_scale: scale } = model;
    noGrad(() => scope(() => assign(scale, clamp(scale, { min: 0, max: Math.log(MOST_LOGIT_SCALE) }))));
    return { loss, acc, gradNorm, logitScale: Math.exp(await scale.item()) };
  }

  /** Frees the optimiser's state; the model and the data are the caller's. */
  dispose(): void {
    this.optimiser.dispose();
  }
}

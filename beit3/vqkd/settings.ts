/** The settings with which visual tokenizers are trained, and the recipes that give many at once. */
import type { OptimiserSettings } from '../training/settings.js';
import { OFFICIAL_TOKENIZERS } from './config.js';

/** All that decides on the numbers of a run besides files and sizes. */
export interface VqKdSettings extends OptimiserSettings {
  readonly steps: number;
  readonly warmupSteps: number;
  /** Pictures of a batch. */
  readonly batch: number;
  /** Least share of a picture that a crop keeps. */
  readonly minCrop: number;
  readonly colorJitter: number;
  /** Batches on whose vectors k-means begins the codebook. */
  readonly startBatches: number;
  /** Whether codes that nothing falls to begin anew: every so many steps, until the last fifth of the run. */
  readonly restartDead: boolean;
  readonly restartEvery: number;
  /** A code is dead that less than this part of its equal share of a batch falls to, on average. */
  readonly restartShare: number;
  /** Samples that are shuffled at a time. */
  readonly shuffleBuffer: number;
  readonly seed: number;
}

/**
 * The official training (BEiT v2, TOKENIZER.md): 100 epochs of ImageNet in batches of 512, 10 of them warm-up, and a rate of
 * 5e-5 for each 128 pictures of a batch.
 */
export const OFFICIAL: VqKdSettings = {
  steps: 250_200,
  lr: 2e-4,
  minLr: 1e-5,
  warmupSteps: 25_020,
  weightDecay: 1e-4,
  optBetas: [0.9, 0.99],
  optEps: 1e-8,
  clipGrad: 0,
  batch: 512,
  minCrop: 0.08,
  colorJitter: 0,
  startBatches: 1,
  restartDead: false,
  restartEvery: 100,
  restartShare: 0.05,
  shuffleBuffer: 1000,
  seed: 0,
};

export interface VqKdRecipe {
  readonly name: string;
  readonly about: string;
  /** Sizes that differ from the official ones; the teacher gives the width of its features where they do not say it. */
  readonly model: Readonly<Record<string, number>>;
  readonly settings: Partial<VqKdSettings>;
}

export const DEFAULT_RECIPE = 'vqkd_encoder_base_decoder_3x768x12_clip';

export const VQKD_RECIPES: readonly VqKdRecipe[] = [
  ...Object.entries(OFFICIAL_TOKENIZERS).map(([name, model]) => ({
    name,
    about: `the official tokenizer of this name: ${model.decoder_depth} decoder layer${model.decoder_depth > 1 ? 's' : ''}`,
    model,
    settings: {},
  })),
  {
    name: 'base-one-gpu',
    about: 'the official size on one card, with any teacher: small batches',
    model: { decoder_depth: 3 },
    settings: { batch: 64, lr: 2.5e-5, warmupSteps: 10_000, startBatches: 4, restartDead: true },
  },
  {
    name: 'small',
    about: '1024 codes on one machine: pictures of 112 pixels in patches of 16',
    model: { img_size: 112, embed_dim: 256, num_heads: 4, encoder_depth: 6, n_code: 1024, code_dim: 16 },
    settings: {
      ...{ steps: 30_000, warmupSteps: 1000, batch: 64, lr: 2e-4, minCrop: 0.3 },
      ...{ startBatches: 4, restartDead: true },
    },
  },
  {
    name: 'tiny',
    about: '256 codes in minutes on a CPU: pictures of 32 pixels in patches of 8',
    model: {
      ...{ img_size: 32, patch_size: 8, embed_dim: 128, num_heads: 2, encoder_depth: 2 },
      ...{ n_code: 256, code_dim: 16 },
    },
    settings: {
      ...{ steps: 2000, warmupSteps: 100, batch: 128, lr: 1e-3, minCrop: 0.5 },
      ...{ startBatches: 4, restartDead: true, restartEvery: 20, clipGrad: 1 },
    },
  },
];

/** The settings of contrastive tuning, the recipes that give many at once, and how long a run is. */
import { InputError } from '../../core/errors.js';
import type { OptimiserSettings } from '../training/settings.js';

/** All that decides on the numbers of a run besides its files. */
export interface ItcSettings extends OptimiserSettings {
  /** Steps of the run; null: those of `epochs`. */
  readonly steps: number | null;
  readonly epochs: number;
  /** Pairs of an epoch; null: as many as the tables of pairs have rows. */
  readonly pairsPerEpoch: number | null;
  /** Epochs in which the rate rises; of a run by steps the same share of them. `warmupSteps` wins where it is no null. */
  readonly warmupEpochs: number;
  readonly warmupSteps: number | null;
  /** Factor on the learning rate from each layer to the one below. */
  readonly layerDecay: number;
  readonly dropPath: number;
  /** Pairs that are told apart in a step. */
  readonly batchSize: number;
  /** Pairs of which activations are held at a time. */
  readonly chunk: number;
  /** Tokens of a text at most, `<s>` and `</s>` included; longer ones are cut. */
  readonly textLength: number;
  /** Side of the pictures in pixels; null: the checkpoint's. */
  readonly inputSize: number | null;
  /** Whether pictures are varied by RandAugment too. */
  readonly randaug: boolean;
  /** Pairs that are shuffled at a time. */
  readonly shuffleBuffer: number;
  readonly checkpointActivations: boolean;
  readonly seed: number;
  readonly rank: number;
  readonly worldSize: number;
}

/**
 * The intermediate tuning of the paper (Wang et al. 2023, appendix): 5 epochs over the 21 million pairs of pretraining, the
 * first to warm up, in batches of 16,384. Where it is silent, what the official code has for retrieval.
 */
export const ITC_PAPER: ItcSettings = {
  steps: null,
  epochs: 5,
  pairsPerEpoch: null,
  lr: 3e-5,
  minLr: 1e-6,
  warmupEpochs: 1,
  warmupSteps: null,
  weightDecay: 0.05,
  layerDecay: 0.95,
  optBetas: [0.9, 0.999],
  optEps: 1e-8,
  clipGrad: 0,
  dropPath: 0.3,
  batchSize: 16_384,
  chunk: 64,
  textLength: 64,
  inputSize: null,
  randaug: false,
  shuffleBuffer: 1000,
  checkpointActivations: false,
  seed: 0,
  rank: 0,
  worldSize: 1,
};

export interface ItcRecipe {
  readonly name: string;
  readonly about: string;
  readonly settings: Partial<ItcSettings>;
}

export const ITC_RECIPES: readonly ItcRecipe[] = [
  { name: 'paper', about: "the paper's, base and large size", settings: {} },
  {
    name: 'base-one-gpu',
    about: 'base size on one card: a smaller batch, a lower rate',
    settings: { batchSize: 1024, lr: 1e-5, dropPath: 0.1 },
  },
  {
    name: 'small',
    about: 'what pretrain --recipe small makes, on one machine',
    settings: { batchSize: 256, lr: 1e-4, dropPath: 0.1, textLength: 32, shuffleBuffer: 5000 },
  },
  {
    name: 'tiny',
    about: 'what pretrain --recipe tiny makes, in minutes on a CPU',
    settings: { batchSize: 128, lr: 5e-4, minLr: 1e-5, dropPath: 0, layerDecay: 1, textLength: 24, clipGrad: 1 },
  },
];

/** How many steps a run has, and in how many of them the rate rises. */
export interface RunLength {
  readonly steps: number;
  readonly warmupSteps: number;
}

/**
 * The length of a run: `steps`, or as many batches as `epochs` times the `pairs` of an epoch make. Throws InputError where
 * nobody knows how many pairs there are (null), and where they do not fill a batch.
 */
export function runLength(settings: ItcSettings, pairs: number | null): RunLength {
  const { epochs, warmupEpochs, batchSize, worldSize } = settings;
  const atOnce = batchSize * worldSize;
  if (pairs !== null && pairs < atOnce) {
    throw new InputError(
      `There are ${pairs} pairs and a step takes ${atOnce}: it would tell pairs from themselves; lower --batch-size.`,
    );
  }
  if (settings.steps === null && pairs === null) {
    throw new InputError(
      'How many pairs .tar shards hold is not known before they are read; give --pairs-per-epoch N, or --steps N instead of --epochs.',
    );
  }
  const steps = settings.steps ?? Math.floor((epochs * (pairs as number)) / atOnce);
  const warmupSteps = settings.warmupSteps ?? Math.floor((steps * Math.min(warmupEpochs, epochs)) / epochs);
  return { steps, warmupSteps };
}

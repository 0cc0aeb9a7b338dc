/** The settings of masked image modelling, and the recipes that give many at once. */
import { type MaskedTrainingSettings, recipeNamed } from '../training/settings.js';
import type { BeitSize } from '../vit/models.js';

/** All that decides on the numbers of a run besides files and sizes. */
export interface MimSettings extends MaskedTrainingSettings {
  /** Layers behind which the patches wait while [CLS] goes on; 0 trains no [CLS], as BEiT does. */
  readonly earlyLayers: number;
  /** Layers that predict the codes from them and the final [CLS]. */
  readonly headLayers: number;
  /** Whether both predictions have one head. */
  readonly sharedHead: boolean;
  /** What layer scale begins with; 0 for none. */
  readonly layerScale: number;
  /** Learnt positions added to the patches, and a table of relative positions that all layers share. */
  readonly absPosEmb: boolean;
  readonly relPosBias: boolean;
  /** Whose mean and deviation the pictures of the model are normalised with. */
  readonly normalization: 'imagenet' | 'inception';
}

/** Steps of an epoch of ImageNet-1k in batches of 2048. */
const EPOCH = 625;

/** BEiT v2 of base size, 1600 epochs of ImageNet-1k (Peng et al. 2022, and PRETRAINING.md of its code). */
export const BEITV2: MimSettings = {
  steps: 1600 * EPOCH,
  lr: 1.5e-3,
  minLr: 1e-5,
  warmupSteps: 10 * EPOCH,
  weightDecay: 0.05,
  optBetas: [0.9, 0.999],
  optEps: 1e-8,
  clipGrad: 3,
  dropPath: 0.1,
  imageBatch: 2048,
  updateFreq: 1,
  // Of 14 x 14 patches.
  imageMask: 75 / 196,
  minBlock: 16,
  minCrop: 0.2,
  colorJitter: 0.4,
  earlyLayers: 9,
  headLayers: 2,
  sharedHead: true,
  layerScale: 0.1,
  absPosEmb: false,
  relPosBias: true,
  normalization: 'imagenet',
  shuffleBuffer: 1000,
  checkpointActivations: false,
  seed: 0,
  rank: 0,
  worldSize: 1,
};

export interface MimRecipe {
  readonly name: string;
  readonly about: string;
  /** Sizes that go with it: a published size, or fields of a config. */
  readonly model: BeitSize | Readonly<Record<string, number>>;
  readonly settings: Partial<MimSettings>;
}

const SHORT: Partial<MimSettings> = { steps: 300 * EPOCH, optBetas: [0.9, 0.98], dropPath: 0 };
const LARGE: Partial<MimSettings> = { earlyLayers: 21, layerScale: 1e-5 };

export const MIM_RECIPES: readonly MimRecipe[] = [
  { name: 'beitv2-base', about: 'BEiT v2, 1600 epochs of ImageNet-1k', model: 'base', settings: {} },
  { name: 'beitv2-base-300e', about: 'BEiT v2, 300 epochs', model: 'base', settings: SHORT },
  { name: 'beitv2-large', about: 'BEiT v2, large size, 1600 epochs', model: 'large', settings: LARGE },
  {
    name: 'beitv2-large-300e',
    about: 'BEiT v2, large size, 300 epochs',
    model: 'large',
    settings: { ...SHORT, ...LARGE },
  },
  {
    name: 'beit-base',
    about: 'BEiT, 800 epochs, on the codes of VQ-KD in place of those of DALL-E',
    model: 'base',
    settings: { steps: 800 * EPOCH, earlyLayers: 0, minCrop: 0.08 },
  },
  {
    name: 'beit-base-abs',
    about: 'the same with absolute positions and without layer scale',
    model: 'base',
    settings: {
      ...{ steps: 800 * EPOCH, earlyLayers: 0, minCrop: 0.08 },
      ...{ absPosEmb: true, relPosBias: false, layerScale: 0 },
    },
  },
  {
    name: 'small',
    about: 'a model of 7M parameters on one machine: pictures of 112 pixels in patches of 16',
    model: { embed_dim: 256, num_heads: 4, depth: 8, img_size: 112 },
    settings: {
      ...{ steps: 50_000, warmupSteps: 1000, lr: 1e-3, optBetas: [0.9, 0.98], dropPath: 0 },
      ...{ imageBatch: 64, minBlock: 4, earlyLayers: 6, minCrop: 0.4, colorJitter: 0.2 },
    },
  },
  {
    name: 'tiny',
    about: 'minutes on a CPU: pictures of 32 pixels in patches of 8',
    model: { embed_dim: 128, num_heads: 4, depth: 4, img_size: 32, patch_size: 8 },
    settings: {
      ...{ steps: 2000, warmupSteps: 100, lr: 1e-3, optBetas: [0.9, 0.98], dropPath: 0, clipGrad: 1 },
      ...{ imageBatch: 64, minBlock: 2, earlyLayers: 3, headLayers: 1, minCrop: 0.5, colorJitter: 0.2 },
    },
  },
];

/** Throws InputError, which names the nearest, for a recipe that there is not. */
export function findMimRecipe(name: string): MimRecipe {
  return recipeNamed(MIM_RECIPES, name);
}

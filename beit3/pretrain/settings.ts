/** The settings of a pretraining run, and the recipes that give many at once. */
import { InputError } from '../../core/errors.js';
import type { Initialisation } from '../model/initialisation.js';
import { type MaskedTrainingSettings, recipeNamed } from '../training/settings.js';

/** All that decides on the numbers of a run besides files and sizes. */
export interface PretrainSettings extends MaskedTrainingSettings {
  /** Texts, and pairs, of a batch. */
  readonly textBatch: number;
  readonly pairBatch: number;
  /** Tokens of a text, and of the text of a pair at most, `<s>` and `</s>` included. */
  readonly textLength: number;
  readonly pairTextLength: number;
  /** Shares of the tokens that are predicted, of texts and of the texts of pairs. */
  readonly textMask: number;
  readonly pairTextMask: number;
  /** Per cent that become `<mask>`, a random word, and stay: `80/10/10`. */
  readonly maskRule: string;
  /** Least share of the picture of a pair that a crop keeps. */
  readonly pairMinCrop: number;
  /** Factors on the losses: pictures, texts, pictures and texts of pairs. */
  readonly lossWeights: readonly [image: number, text: number, pairImage: number, pairText: number];
  readonly initialisation: Initialisation;
}

/** The paper's hyper-parameters (Wang et al. 2023, appendix). Where it is silent, what the official fine-tuning code has. */
export const PAPER: PretrainSettings = {
  steps: 1_000_000,
  lr: 1e-3,
  minLr: 1e-6,
  warmupSteps: 10_000,
  weightDecay: 0.05,
  optBetas: [0.9, 0.98],
  optEps: 1e-6,
  clipGrad: 3,
  dropPath: 0.1,
  imageBatch: 2048,
  textBatch: 2048,
  pairBatch: 2048,
  updateFreq: 1,
  textLength: 512,
  pairTextLength: 64,
  imageMask: 0.4,
  minBlock: 16,
  textMask: 0.15,
  pairTextMask: 0.5,
  maskRule: '80/10/10',
  minCrop: 0.2,
  pairMinCrop: 0.5,
  colorJitter: 0.4,
  lossWeights: [1, 1, 1, 1],
  shuffleBuffer: 1000,
  initialisation: 'paper',
  checkpointActivations: false,
  seed: 0,
  rank: 0,
  worldSize: 1,
};

export interface PretrainRecipe {
  readonly name: string;
  readonly about: string;
  /** Sizes that go with it: a published size, or fields of a config. */
  readonly model: 'base' | 'large' | 'giant' | Readonly<Record<string, number>>;
  readonly settings: Partial<PretrainSettings>;
}

const SMALL = { initialisation: 'magneto', minLr: 1e-5, colorJitter: 0.2, minCrop: 0.5 } as const;

export const PRETRAIN_RECIPES: readonly PretrainRecipe[] = [
  { name: 'paper', about: "the paper's, base size", model: 'base', settings: {} },
  { name: 'paper-large', about: "the paper's, large size", model: 'large', settings: { checkpointActivations: true } },
  { name: 'paper-giant', about: "the paper's, giant size", model: 'giant', settings: { checkpointActivations: true } },
  {
    name: 'base-one-gpu',
    about: 'base size on one card: small batches, a shorter run',
    model: 'base',
    settings: { steps: 200_000, imageBatch: 64, textBatch: 64, pairBatch: 64, lr: 2e-4, textLength: 128 },
  },
  {
    name: 'small',
    about: 'a model of 20M parameters on one machine: pictures of 112 pixels in patches of 16',
    model: {
      encoder_embed_dim: 256,
      encoder_attention_heads: 8,
      encoder_ffn_embed_dim: 1024,
      encoder_layers: 6,
      img_size: 112,
    },
    settings: {
      ...SMALL,
      ...{ steps: 50_000, warmupSteps: 1000, imageBatch: 32, textBatch: 32, pairBatch: 32 },
      ...{ textLength: 64, pairTextLength: 32, minBlock: 4 },
    },
  },
  {
    name: 'tiny',
    about: 'minutes on a CPU: pictures of 32 pixels in patches of 8',
    model: {
      encoder_embed_dim: 128,
      encoder_attention_heads: 4,
      encoder_ffn_embed_dim: 512,
      encoder_layers: 3,
      img_size: 32,
      patch_size: 8,
      max_source_positions: 64,
    },
    settings: {
      ...SMALL,
      ...{ steps: 2000, warmupSteps: 100, imageBatch: 64, textBatch: 32, pairBatch: 64, dropPath: 0 },
      ...{ textLength: 24, pairTextLength: 24, minBlock: 2, clipGrad: 1 },
    },
  },
];

/** Throws InputError, which names the nearest, for a recipe that there is not. */
export function findPretrainRecipe(name: string): PretrainRecipe {
  return recipeNamed(PRETRAIN_RECIPES, name);
}

/** `80/10/10` as shares. Throws InputError for what are no three parts of a hundred. */
export function parseMaskRule(text: string): { readonly masked: number; readonly kept: number } {
  const parts = text.split('/').map(Number);
  const [masked, random, kept] = parts;
  const fits =
    parts.length === 3 && parts.every((n) => n >= 0 && n <= 100) && Math.abs(masked + random + kept - 100) < 1e-6;
  if (fits) return { masked: masked / 100, kept: kept / 100 };
  throw new InputError(
    `--mask-rule expects per cent for <mask>, a random word and no change that make 100, such as 80/10/10, got ${JSON.stringify(text)}.`,
  );
}

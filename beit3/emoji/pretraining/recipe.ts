/** Sizes, times and rates of the pretraining study. */

export const RECIPE = {
  /** The only style that fine-tuning shows; pretraining has pictures, texts and pairs of all styles but the unseen one. */
  finetuned: ['noto'],
  /** Of the pictures and of a patch, in pixels: 4 x 4 patches. */
  size: 32,
  patch: 8,
  width: 128,
  layers: 3,
  vocabulary: 1500,
  tokenizer: {
    /** Seconds of processor time. */
    seconds: 120,
    batch: 64,
    lr: 1e-3,
    codes: 256,
    width: 128,
    depth: 2,
    codeWidth: 16,
    /** Vectors a batch that a code must draw on average, or it begins anew. */
    least: 0.5,
  },
  pretraining: {
    seconds: 1500,
    /** Pictures, texts and pairs of a step. */
    images: 16,
    texts: 16,
    pairs: 48,
    lr: 1e-3,
    /** Of 16 patches, and the least of a block. */
    hidden: 6,
    block: 2,
    textMask: 0.15,
    pairMask: 0.5,
  },
  finetuning: { seconds: 400, batch: 128, lr: { retrieval: 6e-4, imageclassification: 6e-4 } },
} as const;

/** Processor times of a run, in seconds: the recipe's, or less for a try. */
export interface StudyTimes {
  readonly tokenizer: number;
  readonly pretraining: number;
  readonly finetuning: number;
}

export function studyTimes(scale = 1): StudyTimes {
  const { tokenizer, pretraining, finetuning } = RECIPE;
  const scaled = ({ seconds }: { readonly seconds: number }): number => scale * seconds;
  return { tokenizer: scaled(tokenizer), pretraining: scaled(pretraining), finetuning: scaled(finetuning) };
}

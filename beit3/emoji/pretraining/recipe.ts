/** Sizes, times and rates of the pretraining study. */

export const RECIPE = {
  /** What fine-tuning shows: an eighth of the emoji, in one style. Pretraining has all that training may see. */
  labelled: { styles: ['noto'], share: 1 / 8 },
  /** Of the pictures and of a patch, in pixels: 4 x 4 patches. */
  size: 32,
  patch: 8,
  width: 64,
  layers: 3,
  vocabulary: 1500,
  tokenizer: {
    /** Seconds of processor time. */
    seconds: 90,
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
    seconds: 450,
    /** Pictures, texts and pairs of a step. */
    images: 16,
    texts: 16,
    pairs: 48,
    lr: 2e-3,
    /** Of 16 patches, and the least of a block. */
    hidden: 6,
    block: 2,
    textMask: 0.15,
    pairMask: 0.5,
  },
  /** Contrastive tuning on the pairs of pretraining. */
  tuning: { seconds: 200, batch: 128 },
  finetuning: { seconds: 80, batch: 64, lr: 6e-4 },
} as const;

/** Processor times of a run, in seconds: the recipe's, or less for a try. */
export type StudyTimes = Readonly<Record<'tokenizer' | 'pretraining' | 'tuning' | 'finetuning', number>>;

export function studyTimes(scale = 1): StudyTimes {
  const { tokenizer, pretraining, tuning, finetuning } = RECIPE;
  const scaled = ({ seconds }: { readonly seconds: number }): number => scale * seconds;
  return {
    tokenizer: scaled(tokenizer),
    pretraining: scaled(pretraining),
    tuning: scaled(tuning),
    finetuning: scaled(finetuning),
  };
}

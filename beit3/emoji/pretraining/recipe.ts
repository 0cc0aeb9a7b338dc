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
    seconds: 70,
    batch: 64,
    lr: 3e-4,
    codes: 256,
    width: 128,
    depth: 2,
    codeWidth: 16,
    /** Vectors a batch that a code must draw on average, or it begins anew. */
    least: 0.5,
  },
  pretraining: {
    seconds: 250,
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
  tuning: { seconds: 700, batch: 128, lr: 6e-4 },
  /** From scratch it takes all the time that tuning and what comes before it take. A tuned model is changed gently. */
  finetuning: {
    seconds: { pretrained: 60, tuned: 40 },
    batch: 64,
    lr: { pretrained: 6e-4, tuned: 1e-4, scratch: 6e-4 },
  },
} as const;

/** Processor times of a run, in seconds: the recipe's, or less for a try. */
export type StudyTimes = Readonly<Record<'tokenizer' | 'pretraining' | 'tuning' | Arm, number>>;

/**
 * Fine-tuning of a pretrained model, of one that was tuned on the pairs of pretraining in between, and from scratch in as
 * much time as the second takes with all that comes before it.
 */
export const ARMS = ['pretrained', 'tuned', 'scratch'] as const;
export type Arm = (typeof ARMS)[number];

export function studyTimes(scale = 1): StudyTimes {
  const { seconds } = RECIPE.finetuning;
  const [tokenizer, pretraining, tuning, pretrained, tuned] = [
    RECIPE.tokenizer.seconds,
    RECIPE.pretraining.seconds,
    RECIPE.tuning.seconds,
    seconds.pretrained,
    seconds.tuned,
  ].map((time) => scale * time);
  const scratch = tokenizer + pretraining + tuning + tuned;
  return { tokenizer, pretraining, tuning, pretrained, tuned, scratch };
}

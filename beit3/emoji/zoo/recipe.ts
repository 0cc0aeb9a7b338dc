/** What the shipped model is and how it was trained. */

export const RECIPE = {
  /** Of the model. */
  width: 160,
  layers: 3,
  /** Side of the pictures and of a patch in pixels. */
  size: 32,
  patch: 16,
  vocabulary: 1500,
  /** Of training, all tasks together, and how many of them are of the first phase (see phases.ts). */
  steps: 24_000,
  firstShare: 2 / 3,
  /** Highest learning rates of the two phases. */
  lr: 6e-4,
  secondLr: 3e-4,
  seed: 0,
};

/** What the shipped model is and how it was trained. */

export const RECIPE = {
  /** Of the model. */
  width: 160,
  layers: 3,
  /** Side of the pictures and of a patch in pixels. */
  size: 32,
  patch: 16,
  vocabulary: 1500,
  /** Of training, all tasks together. */
  steps: 16_000,
  lr: 6e-4,
  seed: 0,
};

/** The official training and evaluation transforms of pictures, and mixing within a batch. */

export { type AutoAugment, parseAutoAugment } from './autoAugment.js';
export { buildTransform } from './build.js';
export type { Interpolation, Range } from './crop.js';
export type { EraseMode, EraseOptions } from './erase.js';
export { type MixMode, type MixOptions, mixBatch } from './mix.js';
export {
  evaluation,
  imageNetTraining,
  type TransformSpec,
  type TransformStep,
  visionLanguageTraining,
} from './spec.js';
export type { ImageTransform } from './transform.js';
export type { Color } from './warp.js';

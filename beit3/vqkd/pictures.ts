import type { TransformSpec } from '../data/transforms/index.js';

/** Below this side the reference cuts an eighth away. */
const WHOLE_FROM = 384;

/** The reference's transform of pictures without chance: the short side to 8/7 of `size`, and the middle cut out. */
export function plainTransform(size: number): TransformSpec {
  const cropRatio = size < WHOLE_FROM ? 224 / 256 : 1;
  return { size, pipeline: 'vl', steps: [{ name: 'fit', pipeline: 'imagenet', cropRatio }], erase: null };
}

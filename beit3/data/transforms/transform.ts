import type { Generator } from '../../../core/random.js';
import type { RgbImage } from '../../images/index.js';

/**
 * From a picture to what the model sees: float32 [3, S, S], normalised. All chance comes from `random`, so that the same
 * generator state gives the same picture in any thread.
 */
export type ImageTransform = (image: RgbImage, random: Generator) => Float32Array;

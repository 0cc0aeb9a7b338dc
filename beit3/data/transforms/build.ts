/** Transforms out of their description. */

import { InputError } from '../../../core/errors.js';
import type { Generator } from '../../../core/random.js';
import { fitImage, normalizeImage, type RgbImage } from '../../images/index.js';
import { autoAugment } from './autoAugment.js';
import { colorJitter } from './colorJitter.js';
import { randomMirror, randomPaddedCrop, randomResizedCrop } from './crop.js';
import { randomErase } from './erase.js';
import { randAugment } from './randAugment.js';
import { checkSpec, type TransformSpec, type TransformStep } from './spec.js';
import type { ImageTransform } from './transform.js';

/**
 * The transform that `spec` describes. The same picture and generator state always give the same result.
 *
 * Throws InputError for a spec that is none; the transform throws it for a picture too small to crop.
 */
export function buildTransform(spec: TransformSpec): ImageTransform {
  checkSpec(spec);
  const { size, pipeline, steps, erase } = spec;
  return (image, random) => {
    const picture = steps.reduce((before, step) => apply(step, before, size, random), image);
    if (picture.width !== size || picture.height !== size) {
      throw new InputError(
        `The transform gives a picture of ${picture.width} x ${picture.height} instead of ${size} x ${size}; begin with a step that resizes or crops.`,
      );
    }
    const out = normalizeImage(picture, pipeline);
    if (erase !== null) randomErase(out, size, erase, random);
    return out;
  };
}

function apply(step: TransformStep, image: RgbImage, size: number, random: Generator): RgbImage {
  switch (step.name) {
    case 'fit':
      return fitImage(image, step.pipeline, { size, cropRatio: step.cropRatio });
    case 'randomResizedCrop':
      return randomResizedCrop(image, { ...step, size }, random);
    case 'randomPaddedCrop':
      return randomPaddedCrop(image, size, step.padding, random);
    case 'randomMirror':
      return randomMirror(image, step.probability, random);
    case 'randAugment':
      return randAugment(image, step, random);
    case 'autoAugment':
      return autoAugment(image, step, random);
    case 'colorJitter':
      return colorJitter(image, step.strength, random);
  }
}

/** torchvision's ColorJitter without hue. */

import type { Generator } from '../../../core/random.js';
import type { RgbImage } from '../../images/index.js';
import { between } from './chance.js';
import { brightness, color, contrast } from './tones.js';

/** Brightness, contrast and saturation in random order, each times 1 - strength to 1 + strength (at least 0). */
export function colorJitter(image: RgbImage, strength: number, random: Generator): RgbImage {
  const changes = [brightness, contrast, color];
  let out = image;
  for (const i of random.permutation(changes.length)) {
    out = changes[i](out, between(random, Math.max(0, 1 - strength), 1 + strength));
  }
  return out;
}

/** timm's random erasing (Zhong et al. 2017, "Random erasing data augmentation"). */

import type { Generator } from '../../../core/random.js';
import { between, happens, wholeBetween } from './chance.js';

/** What erased pixels become: normal noise, one normal colour, or 0 (the mean). */
export type EraseMode = 'pixel' | 'rand' | 'const';

export interface EraseOptions {
  /** Of a picture. */
  readonly probability: number;
  readonly mode: EraseMode;
  /** From 1 to this many rectangles, which share the area. */
  readonly count: number;
}

/** Together the rectangles cover this share of the picture. */
const AREA = [0.02, 1 / 3] as const;
/** Height to width. */
const ASPECT = [0.3, 1 / 0.3] as const;

/** Erases rectangles of `picture`, float32 [3, size, size], normalised, in place. */
export function randomErase(
  picture: Float32Array,
  size: number,
  { probability, mode, count }: EraseOptions,
  random: Generator,
): void {
  if (!happens(random, probability)) return;
  const rectangles = wholeBetween(random, 1, count);
  for (let i = 0; i < rectangles; i++) {
    for (let attempt = 0; attempt < 10; attempt++) {
      const area = (between(random, ...AREA) * size * size) / rectangles;
      const aspect = Math.exp(between(random, Math.log(ASPECT[0]), Math.log(ASPECT[1])));
      const height = Math.round(Math.sqrt(area * aspect));
      const width = Math.round(Math.sqrt(area / aspect));
      if (width >= size || height >= size) continue;
      const top = wholeBetween(random, 0, size - height);
      const left = wholeBetween(random, 0, size - width);
      const noise = random.normal(mode === 'pixel' ? 3 * height * width : 3);
      for (let channel = 0; channel < 3; channel++) {
        for (let y = 0; y < height; y++) {
          const from = (channel * size + top + y) * size + left;
          const row = picture.subarray(from, from + width);
          const drawn = (channel * height + y) * width;
          if (mode === 'pixel') row.set(noise.subarray(drawn, drawn + width));
          else row.fill(mode === 'rand' ? noise[channel] : 0);
        }
      }
      break;
    }
  }
}

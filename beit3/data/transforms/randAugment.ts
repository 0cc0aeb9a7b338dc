/**
 * The RandAugment with which BEiT-3 was fine-tuned on vision-language tasks (after Cubuk et al. 2019), which computes
 * with NumPy and OpenCV. It is followed to the letter, also where its arithmetic overflows a byte.
 */

import type { Generator } from '../../../core/random.js';
import type { RgbImage } from '../../images/index.js';
import { eitherSign, happens, oneOf } from './chance.js';
import { equalize, look, smooth, stretch, tableOf } from './tones.js';
import { type Color, type Warp, warpAffine, warpRotation } from './warp.js';

const FILL: Color = [128, 128, 128];
const PROBABILITY = 0.5;

/**
 * Stretches each channel to 0..255. The lowest value is negated as a byte (256 - low), so that a channel without 0 in it
 * becomes nearly white: so were the official models trained.
 */
export const overstretch = (image: RgbImage): RgbImage => stretch(image, (low) => -low & 255);

/** All values times `factor`. */
export function brighten(image: RgbImage, factor: number): RgbImage {
  const single = Math.fround(factor);
  return look(
    image,
    tableOf((byte) => Math.fround(byte * single)),
  );
}

/** Away from the smoothed picture; what leaves 0..255 comes in again at the other end, as storing in bytes does it. */
export function sharpen(image: RgbImage, factor: number): RgbImage {
  const from = image.data;
  const { data } = smooth(image);
  const single = Math.fround(factor);
  for (let i = 0; i < data.length; i++) data[i] = Math.fround(data[i] + Math.fround(single * (from[i] - data[i])));
  return { ...image, data };
}

export const warpShearX = (factor: number): Warp => [1, Math.fround(factor), 0, 0, 1, 0];
export const warpShearY = (factor: number): Warp => [1, 0, 0, Math.fround(factor), 1, 0];
export const warpShiftX = (pixels: number): Warp => [1, 0, Math.fround(-pixels), 0, 1, 0];
export const warpShiftY = (pixels: number): Warp => [1, 0, 0, 0, 1, Math.fround(-pixels)];

/** `share` of the strongest, 0 to 1; `random` chooses the sign. */
type Operation = (image: RgbImage, share: number, random: Generator) => RgbImage;

const warped =
  (warpOf: (amount: number, image: RgbImage) => Warp, most: number): Operation =>
  (image, share, random) =>
    warpAffine(image, warpOf(eitherSign(random, share * most), image), FILL);

const OPERATIONS = {
  Identity: (image) => image,
  AutoContrast: overstretch,
  Equalize: equalize,
  Brightness: (image, share) => brighten(image, share * 1.8 + 0.1),
  Sharpness: (image, share) => sharpen(image, share * 1.8 + 0.1),
  ShearX: warped(warpShearX, 0.3),
  ShearY: warped(warpShearY, 0.3),
  TranslateX: warped(warpShiftX, 10),
  TranslateY: warped(warpShiftY, 10),
  Rotate: warped((degrees, { width, height }) => warpRotation(degrees, width, height), 30),
} satisfies Record<string, Operation>;

const NAMES = Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[];

/** `layers` operations in turn, each drawn from all ten and done with probability 1/2; `magnitude` goes from 0 to 10. */
export function randAugment(
  image: RgbImage,
  { layers, magnitude }: { layers: number; magnitude: number },
  random: Generator,
): RgbImage {
  let out = image;
  for (let i = 0; i < layers; i++) {
    const operation: Operation = OPERATIONS[oneOf(random, NAMES)];
    if (happens(random, PROBABILITY)) out = operation(out, magnitude / 10, random);
  }
  return out;
}

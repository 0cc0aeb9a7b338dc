/** Random parts of a picture. */

import { InputError } from '../../../core/errors.js';
import type { Generator } from '../../../core/random.js';
import { type Rectangle, type ResizeFilter, type RgbImage, resizeImage } from '../../images/index.js';
import { between, happens, oneOf, wholeBetween } from './chance.js';

/** With which filter pictures are resized and turned; `random` takes either, anew each time. */
export type Interpolation = ResizeFilter | 'random';

/** The filter to use this time. */
export function chooseFilter(interpolation: Interpolation, random: Generator): ResizeFilter {
  return interpolation === 'random' ? oneOf<ResizeFilter>(random, ['bilinear', 'bicubic']) : interpolation;
}

/** Lowest and highest. */
export type Range = readonly [number, number];

/** A copy of a part of `image`, which must lie inside. */
export function crop(image: RgbImage, { left, top, width, height }: Rectangle): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, data };
}

/**
 * Where to crop: an area that is a share of the picture's within `scale`, and a width to height within `ratio` (even in
 * its logarithm). What does not fit is drawn again; after ten draws the largest centred part of a fitting ratio is taken.
 */
export function randomPart(image: RgbImage, scale: Range, ratio: Range, random: Generator): Rectangle {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = between(random, ...scale) * image.width * image.height;
    const aspect = Math.exp(between(random, Math.log(ratio[0]), Math.log(ratio[1])));
    const width = Math.round(Math.sqrt(area * aspect));
    const height = Math.round(Math.sqrt(area / aspect));
    // A sliver of a tiny picture may round to nothing.
    if (width >= 1 && height >= 1 && width <= image.width && height <= image.height) {
      const top = wholeBetween(random, 0, image.height - height);
      return { left: wholeBetween(random, 0, image.width - width), top, width, height };
    }
  }
  const aspect = image.width / image.height;
  const width = aspect > ratio[1] ? Math.max(1, Math.round(image.height * ratio[1])) : image.width;
  const height = aspect < ratio[0] ? Math.max(1, Math.round(image.width / ratio[0])) : image.height;
  return {
    left: Math.floor((image.width - width) / 2),
    top: Math.floor((image.height - height) / 2),
    width,
    height,
  };
}

/** timm's RandomResizedCropAndInterpolation: a random part, resized to size x size. */
export function randomResizedCrop(
  image: RgbImage,
  options: { size: number; scale: Range; ratio: Range; interpolation: Interpolation },
  random: Generator,
): RgbImage {
  const part = crop(image, randomPart(image, options.scale, options.ratio, random));
  return resizeImage(part, options.size, options.size, chooseFilter(options.interpolation, random));
}

/** A random part of size x size, not resized, of the picture with a black border of `padding` pixels. */
export function randomPaddedCrop(image: RgbImage, size: number, padding: number, random: Generator): RgbImage {
  const rooms = [image.width + 2 * padding - size, image.height + 2 * padding - size];
  if (Math.min(...rooms) < 0) {
    throw new InputError(
      `A picture of ${image.width} x ${image.height} is too small to cut ${size} x ${size} with a border of ${padding}; ` +
        'pictures for models of at most 32 pixels are not resized, so give larger ones.',
    );
  }
  const top = wholeBetween(random, 0, rooms[1]) - padding;
  const left = wholeBetween(random, 0, rooms[0]) - padding;
  const data = new Uint8Array(size * size * 3);
  const [first, end] = [Math.max(0, left), Math.min(image.width, left + size)];
  for (let y = Math.max(0, top); y < Math.min(image.height, top + size); y++) {
    const row = image.data.subarray((y * image.width + first) * 3, (y * image.width + end) * 3);
    data.set(row, ((y - top) * size + first - left) * 3);
  }
  return { width: size, height: size, data };
}

/** Left and right exchanged. */
export function mirror(image: RgbImage): RgbImage {
  const { width, height } = image;
  const data = new Uint8Array(image.data.length);
  for (let y = 0; y < height; y++) {
    let from = y * width * 3;
    for (let to = from + (width - 1) * 3; to >= y * width * 3; to -= 3, from += 3) {
      data[to] = image.data[from];
      data[to + 1] = image.data[from + 1];
      data[to + 2] = image.data[from + 2];
    }
  }
  return { width, height, data };
}

/** `mirror` with this probability. */
export function randomMirror(image: RgbImage, probability: number, random: Generator): RgbImage {
  return happens(random, probability) ? mirror(image) : image;
}

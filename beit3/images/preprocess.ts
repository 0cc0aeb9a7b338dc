/** From a picture to what the model sees: the two official evaluation pipelines. */

import { InputError } from '../../core/errors.js';
import type { RgbImage } from './image.js';
import { type Rectangle, resizeBicubic } from './resize.js';

/**
 * `vl`, for every task but one: squashed to a square, mean and deviation 0.5.
 * `imagenet`, for image classification: short side to the size, centre crop, mean and deviation of ImageNet.
 */
export type ImagePipeline = 'vl' | 'imagenet';

export interface PreprocessOptions {
  /** Side of the square, as the model's config has it. */
  size: number;
  /** `imagenet` only: the short side becomes size / cropRatio before the crop. The official value is 1. */
  cropRatio?: number;
  /** Whose mean and deviation normalise, where they are not those of the pipeline. */
  statistics?: ImagePipeline;
}

/** How a model wants its pictures. */
export interface Preprocessing {
  readonly pipeline: ImagePipeline;
  /** Default: those of the pipeline. */
  readonly statistics?: ImagePipeline;
  /** The part of the short side that evaluation looks at; default 1. */
  readonly cropRatio?: number;
}

/** Mean and deviation of each channel, of values from 0 to 1. */
export const STATISTICS: Record<ImagePipeline, { mean: number[]; deviation: number[] }> = {
  vl: { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] },
  imagenet: { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] },
};

/** What each byte becomes in each channel, rounded to single precision where the reference does. */
const NORMALIZED = { vl: normalizationTables('vl'), imagenet: normalizationTables('imagenet') };

function normalizationTables(pipeline: ImagePipeline): Float32Array[] {
  const { mean, deviation } = STATISTICS[pipeline];
  return mean.map((m, channel) =>
    Float32Array.from({ length: 256 }, (_, byte) => {
      const centered = Math.fround(Math.fround(byte / 255) - Math.fround(m));
      return centered / Math.fround(deviation[channel]);
    }),
  );
}

/** `image` resized and cropped to size x size, still in bytes. */
export function fitImage(image: RgbImage, pipeline: ImagePipeline, options: PreprocessOptions): RgbImage {
  const { size, cropRatio = 1 } = options;
  requireSize(size);
  if (!(cropRatio > 0 && cropRatio <= 1)) {
    throw new InputError(`The cropRatio must be above 0 and at most 1, not ${cropRatio}.`);
  }
  if (pipeline === 'vl') return resizeBicubic(image, size, size);

  const short = Math.trunc(size / cropRatio);
  const isTall = image.width <= image.height;
  const long = Math.trunc((short * Math.max(image.width, image.height)) / Math.min(image.width, image.height));
  const [width, height] = isTall ? [short, long] : [long, short];
  const part: Rectangle = {
    left: roundHalfToEven((width - size) / 2),
    top: roundHalfToEven((height - size) / 2),
    width: size,
    height: size,
  };
  return resizeBicubic(image, width, height, part);
}

/** The normalised picture as [3, size, size]. Throws InputError for a size that is none. */
export function preprocessImage(image: RgbImage, pipeline: ImagePipeline, options: PreprocessOptions): Float32Array {
  return preprocessImages([image], pipeline, options);
}

/** Several normalised pictures as [N, 3, size, size]. */
export function preprocessImages(
  images: readonly RgbImage[],
  pipeline: ImagePipeline,
  options: PreprocessOptions,
): Float32Array {
  requireSize(options.size);
  const length = 3 * options.size * options.size;
  const out = new Float32Array(images.length * length);
  images.forEach((image, n) => {
    out.set(normalizeImage(fitImage(image, pipeline, options), options.statistics ?? pipeline), n * length);
  });
  return out;
}

/** The picture as it is, less the pipeline's mean and divided by its deviation: float32 [3, height, width]. */
export function normalizeImage({ width, height, data }: RgbImage, pipeline: ImagePipeline): Float32Array {
  const pixels = width * height;
  const out = new Float32Array(3 * pixels);
  NORMALIZED[pipeline].forEach((table, channel) => {
    const to = channel * pixels;
    for (let i = 0; i < pixels; i++) out[to + i] = table[data[3 * i + channel]];
  });
  return out;
}

function requireSize(size: number): void {
  if (Number.isInteger(size) && size >= 1) return;
  throw new InputError(`The image size of a model must be a whole number of at least 1, not ${size}.`);
}

/** Python's round, by which the reference places its crop. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

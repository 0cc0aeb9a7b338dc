/** From the pictures of a sample to what the model sees: the work of a loader, in any thread. */

import { InputError } from '../../../core/errors.js';
import { Generator, type GeneratorState } from '../../../core/random.js';
import { decodeImage, type RgbImage } from '../../images/index.js';
import type { PictureSource } from '../dataSet.js';
import type { ImageTransform } from '../transforms/transform.js';

export interface PictureJob {
  readonly pictures: readonly PictureSource[];
  /** Where the chance of this sample begins. */
  readonly random: GeneratorState;
  /** Whether to give what was decoded too. */
  readonly keep: boolean;
}

export interface LoadedPictures {
  /** Of each picture float32 [3, S, S], in memory of its own. */
  readonly pixels: readonly Float32Array<ArrayBuffer>[];
  /** Of each picture what was decoded, where that was asked for. */
  readonly decoded: readonly RgbImage[];
}

/** Does the work of a thread or of the caller. */
export interface PictureLoader {
  /** Rejects with BrokenPicture for one that cannot be used. */
  load(job: PictureJob): Promise<LoadedPictures>;
  /** Frees threads; what is at work rejects. */
  close(): Promise<void>;
}

/** A picture cannot be read, or is too small for the transform. */
export class BrokenPicture extends InputError {}

/** Whether the pixels were given. */
export function isDecoded(source: PictureSource): source is RgbImage {
  return typeof source === 'object' && 'data' in source && 'width' in source && 'height' in source;
}

/** Decodes and transforms, one picture after the other. Throws BrokenPicture. */
export async function loadPictures(job: PictureJob, transform: ImageTransform): Promise<LoadedPictures> {
  const random = new Generator(0).restore(job.random);
  const pixels: Float32Array<ArrayBuffer>[] = [];
  const decoded: RgbImage[] = [];
  for (const source of job.pictures) {
    const image = isDecoded(source) ? source : await orBroken(() => decodeImage(source));
    if (job.keep) decoded.push(image);
    const values = await orBroken(() => transform(image, random));
    const isOwn = values.buffer instanceof ArrayBuffer && values.byteLength === values.buffer.byteLength;
    pixels.push(isOwn ? (values as Float32Array<ArrayBuffer>) : new Float32Array(values));
  }
  return { pixels, decoded };
}

async function orBroken<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof InputError ? new BrokenPicture(error.message) : error;
  }
}

/** Lets at most `most` calls of `run` be under way; the others wait for their turn in order. */
export function limited<I, O>(most: number, run: (input: I) => Promise<O>): (input: I) => Promise<O> {
  const waiting: (() => void)[] = [];
  let active = 0;
  return async (input) => {
    if (active >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else active++;
    try {
      return await run(input);
    } finally {
      const next = waiting.shift();
      if (next) next();
      else active--;
    }
  };
}

/** Files are read and decoded beside the caller's own work, some at a time. */
const AT_ONCE = 4;

/** Loads pictures in the thread of the caller. */
export function localLoader(transform: ImageTransform): PictureLoader {
  return {
    load: limited(AT_ONCE, (job: PictureJob) => loadPictures(job, transform)),
    close: async () => {},
  };
}

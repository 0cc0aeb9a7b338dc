/** Program of a thread that loads pictures. Node only. */

import { parentPort, workerData } from 'node:worker_threads';
import { InputError, messageOf } from '../../../core/errors.js';
import type { RgbImage } from '../../images/index.js';
import { buildTransform, type TransformSpec } from '../transforms/index.js';
import { BrokenPicture, type LoadedPictures, limited, loadPictures, type PictureJob } from './pictures.js';

/** What a thread is asked. */
export interface Request {
  readonly id: number;
  readonly job: PictureJob;
}

/** What it answers: pictures, or why there are none. */
export type Answer =
  | { readonly id: number; readonly loaded: LoadedPictures }
  | { readonly id: number; readonly broken: string }
  | { readonly id: number; readonly refused: string }
  | { readonly id: number; readonly failure: string };

/** While one picture is read and decoded, outside of JavaScript, another is transformed. */
const AT_ONCE = 2;

const port = parentPort;
if (port !== null) {
  const transform = buildTransform(workerData as TransformSpec);
  const answer = limited(AT_ONCE, async ({ id, job }: Request): Promise<void> => {
    try {
      const { pixels, decoded } = await loadPictures(job, transform);
      const loaded = { pixels, decoded: decoded.map(shared) };
      port.postMessage(
        { id, loaded } satisfies Answer,
        pixels.map(({ buffer }) => buffer),
      );
    } catch (error) {
      port.postMessage({ id, ...failureOf(error) } satisfies Answer);
    }
  });
  port.on('message', (request: Request) => void answer(request));
}

/** In memory that every thread sees: it comes back with the next job without being copied. */
function shared(image: RgbImage): RgbImage {
  if (image.data.buffer instanceof SharedArrayBuffer) return image;
  const data = new Uint8Array(new SharedArrayBuffer(image.data.length));
  data.set(image.data);
  return { ...image, data };
}

/** What was wrong with the data keeps its one sentence; anything else is a fault here, and its place is told. */
function failureOf(error: unknown) {
  if (error instanceof BrokenPicture) return { broken: error.message };
  if (error instanceof InputError) return { refused: error.message };
  return { failure: error instanceof Error ? (error.stack ?? error.message) : messageOf(error) };
}

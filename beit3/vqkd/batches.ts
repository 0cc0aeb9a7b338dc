/** Batches of pictures out of a stream, with the teacher's features where these were computed before. */
import { InputError } from '../../core/errors.js';
import { BatchQueue, drawn, type PictureOptions, StreamedPictures, stacked } from '../data/stream/queue.js';
import type { ImageSample, Resumable, SampleStream } from '../data/stream/stream.js';
import type { FeatureFiles } from './features.js';

/** Pictures [B, 3, S, S] in the memory of the host. */
export interface VqKdBatch {
  readonly size: number;
  /** Side S in pixels. */
  readonly side: number;
  /** Normalised as BEiT-3's pictures are: (x - 0.5) / 0.5. */
  readonly images: Float32Array;
  /** [B, P, D]; null where the teacher is to be asked. */
  readonly features: Float32Array | null;
  /** Where the pictures come from, for messages. */
  readonly files: readonly string[];
}

/** What a step is made of. */
export interface VqKdStep {
  readonly batch: VqKdBatch;
  /** Batches on which the codebook begins, in the first step of a run. */
  readonly start: readonly VqKdBatch[];
}

export interface VqKdBatchOptions extends PictureOptions {
  readonly size: number;
  /** Batches on which the codebook begins, the first one included. */
  readonly startBatches: number;
  readonly features: FeatureFiles | null;
}

/** Where the data stands: whether the first step was given, and where the stream is. */
interface Saved {
  readonly begun: boolean;
  readonly queue: unknown;
}

/** The data of a run; every step is a function of the settings, its number and the samples of the stream. */
export function vqkdSteps(
  stream: SampleStream<ImageSample>,
  { size, startBatches, features, ...pictures }: VqKdBatchOptions,
): Resumable & { next(): Promise<VqKdStep>; close(): Promise<void> } {
  const loader = new StreamedPictures(pictures);
  const queue = new BatchQueue<readonly ImageSample[], VqKdBatch>(
    { images: stream },
    {
      draw: () => drawn(stream, size),
      make: async (samples, index) => {
        const { pixels, from } = await loader.load(samples, index);
        const files = Array.from(from, (i) => samples[i].where);
        const side = Math.sqrt(pixels[0].length / 3);
        const known = features && (await features.read(files));
        return { size: pixels.length, side, images: stacked(pixels), features: known, files };
      },
      close: () => loader.close(),
    },
  );
  let begun = false;
  return {
    next: async () => {
      const start: VqKdBatch[] = [];
      while (!begun && start.length + 1 < startBatches) start.push(await queue.next());
      const batch = await queue.next();
      if (!begun) start.push(batch);
      begun = true;
      return { batch, start };
    },
    position: (): Saved => ({ begun, queue: queue.position() }),
    restore: async (position) => {
      const saved = position as Partial<Saved> | null;
      if (typeof saved?.begun !== 'boolean')
        throw new InputError('The place where the data stood does not fit; begin anew with --resume none.');
      await queue.restore(saved.queue);
      begun = saved.begun;
    },
    close: () => queue.close(),
  };
}

/** Batches of pairs out of streams, in the chunks that are run one after the other. */
import type { RetrievalBatch } from '../data/batch.js';
import { frameTexts } from '../data/loader/collate.js';
import { BatchQueue, drawn, type PictureOptions, StreamedPictures, stacked } from '../data/stream/queue.js';
import type { PairSample, SampleStream } from '../data/stream/stream.js';
import type { SteppedTask } from '../training/task.js';
import type { Chunks } from './task.js';

export interface ItcLoaderOptions extends PictureOptions {
  readonly batchSize: number;
  /** Pairs of a chunk; the last one of a batch has what is left. */
  readonly chunk: number;
}

/** Pixels that are loaded ahead at most, besides those of the batch at work. */
const AHEAD_BYTES = 2 ** 31;

/**
 * Batches for contrastive tuning; every chunk is a function of the settings, its number and the samples of the stream. At
 * most a batch is loaded ahead. In the place of a broken picture stands another pair of its chunk, which is then there twice.
 */
export function itcBatches(stream: SampleStream<PairSample>, options: ItcLoaderOptions): SteppedTask<Chunks>['data'] {
  const { batchSize, chunk, transform } = options;
  const pictures = new StreamedPictures(options);
  const chunks = Math.ceil(batchSize / chunk);
  const sizeOf = (index: number): number => Math.min(chunk, batchSize - (index % chunks) * chunk);
  const bytes = chunk * 3 * transform.size ** 2 * Float32Array.BYTES_PER_ELEMENT;
  const queue = new BatchQueue<readonly PairSample[], RetrievalBatch>(
    { pairs: stream },
    {
      draw: (index) => drawn(stream, sizeOf(index)),
      make: async (samples, index) => {
        const { pixels, from } = await pictures.load(samples, index);
        const paired = Array.from(from, (i) => samples[i]);
        return {
          size: samples.length,
          side: transform.size,
          images: stacked(pixels),
          files: paired.map(({ where }) => where),
          ...frameTexts(paired.map(({ tokens }) => tokens)),
          imageIds: [...from],
        };
      },
      close: () => pictures.close(),
    },
    { prefetch: Math.max(1, Math.min(chunks, Math.floor(AHEAD_BYTES / bytes))) },
  );
  return {
    next: async () => {
      const batch: RetrievalBatch[] = [];
      while (batch.length < chunks) batch.push(await queue.next());
      return batch;
    },
    position: () => queue.position(),
    restore: (position) => queue.restore(position),
    close: () => queue.close(),
  };
}

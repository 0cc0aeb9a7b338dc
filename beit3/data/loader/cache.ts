import type { RgbImage } from '../../images/index.js';
import type { PictureSource } from '../dataSet.js';
import { isDecoded, type LoadedPictures, type PictureJob, type PictureLoader } from './pictures.js';

/** Keeps what was decoded, first come first served, until it has `bytes`: a small data set is decoded once. */
export function cachedLoader(loader: PictureLoader, bytes: number): PictureLoader {
  const kept = new Map<PictureSource, RgbImage>();
  let room = bytes;
  const keep = (source: PictureSource, image: RgbImage): void => {
    if (kept.has(source) || room === 0) return;
    // With the first that does not fit the cache is full: what comes later is not worth another copy.
    room = image.data.length > room ? 0 : room - image.data.length;
    if (room > 0) kept.set(source, image);
  };
  return {
    load: async (job: PictureJob): Promise<LoadedPictures> => {
      const pictures = job.pictures.map((source) => kept.get(source) ?? source);
      const loaded = await loader.load({ ...job, pictures, keep: room > 0 && !pictures.every(isDecoded) });
      loaded.decoded.forEach((image, i) => {
        if (!isDecoded(pictures[i])) keep(job.pictures[i], image);
      });
      return loaded;
    },
    close: () => loader.close(),
  };
}

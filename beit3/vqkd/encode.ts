/** Pictures to codes, as BEiT v2's test_get_code.py encodes them. */
import { tensor } from '../../core/tensor.js';
import type { PictureSource } from '../data/dataSet.js';
import { loadPictures } from '../data/loader/pictures.js';
import { buildTransform } from '../data/transforms/index.js';
import { plainTransform } from './pictures.js';
import type { VqKd } from './vqkd.js';

/**
 * The codes of a picture, int32 [P], row by row. It is resized and its middle is cut out (`plainTransform`). Throws
 * InputError for what is no picture.
 */
export async function encodeImage(model: VqKd, picture: PictureSource): Promise<Int32Array> {
  const { imageSize: S } = model;
  // The transform leaves nothing to chance.
  const job = { pictures: [picture], random: { seed: 0, counter: 0 }, keep: false };
  const [pixels] = (await loadPictures(job, buildTransform(plainTransform(S)))).pixels;
  const images = tensor(pixels, { shape: [1, 3, S, S], backend: model.encoder.cls_token.backend });
  const codes = model.encode(images);
  images.dispose();
  try {
    return (await codes.data()) as Int32Array;
  } finally {
    codes.dispose();
  }
}

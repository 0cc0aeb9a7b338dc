import { decodeImage, type ImagePipeline, preprocessImage, type RgbImage } from '../images/index.js';
import type { ByteSource } from '../readBytes.js';

/** A picture: a path (Node), an address, a URL, a Blob or File, the bytes of an image file, or decoded pixels. */
export type ImageSource = ByteSource | RgbImage;

/** The picture as the model sees it, [3, size, size]; on `background` where it is transparent. */
export async function preparedImage(
  source: ImageSource,
  size: number,
  kind: ImagePipeline,
  background?: 'white',
): Promise<Float32Array> {
  return preprocessImage(isDecoded(source) ? source : await decodeImage(source, { background }), kind, { size });
}

function isDecoded(source: ImageSource): source is RgbImage {
  return typeof source === 'object' && source !== null && 'width' in source && 'data' in source;
}

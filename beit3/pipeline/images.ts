import { decodeImage, type Preprocessing, preprocessImage, type RgbImage } from '../images/index.js';
import type { ByteSource } from '../readBytes.js';

/** A picture: a path (Node), an address, a URL, a Blob or File, the bytes of an image file, or decoded pixels. */
export type ImageSource = ByteSource | RgbImage;

/** The picture as the model sees it, [3, size, size]; on `background` where it is transparent. */
export async function preparedImage(
  source: ImageSource,
  size: number,
  { pipeline, ...rest }: Preprocessing,
  background?: 'white',
): Promise<Float32Array> {
  const image = isDecoded(source) ? source : await decodeImage(source, { background });
  return preprocessImage(image, pipeline, { size, ...rest });
}

function isDecoded(source: ImageSource): source is RgbImage {
  return typeof source === 'object' && source !== null && 'width' in source && 'data' in source;
}

/** PNG files, by the package sharp. Node only. */
import { InputError, messageOf } from '../../core/errors.js';
import type { RgbImage } from './image.js';

/** The picture as a PNG file. Throws InputError where sharp is not installed. */
export async function encodePng({ width, height, data }: RgbImage): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp').catch((error: unknown) => {
    throw new InputError(
      `Writing pictures needs the package sharp; run npm install sharp (${messageOf(error).split('\n')[0]}).`,
    );
  });
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

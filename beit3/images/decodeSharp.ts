/** Decoding in Node, by the package sharp. */

import { InputError, messageOf } from '../../core/errors.js';
import type { ImageFormat } from './header.js';
import type { RgbImage } from './image.js';

/** Throws whatever sharp throws for a damaged file. */
export async function decodeWithSharp(
  bytes: Uint8Array,
  format: ImageFormat,
  maxPixels: number,
  background?: 'white',
): Promise<RgbImage> {
  const { default: sharp } = await import('sharp').catch((error: unknown) => {
    throw new InputError(
      `Reading ${format} images in Node needs the package sharp; run npm install sharp (${messageOf(error).split('\n')[0]}).`,
    );
  });
  const open = () =>
    sharp(bytes, {
      ignoreIcc: true,
      // TIFF files are full of harmless oddities, but the lower level lets missing rows pass.
      failOn: format === 'TIFF' ? 'error' : 'truncated',
      limitInputPixels: maxPixels,
      // Pillow turns a TIFF, and nothing else, as its orientation says.
      autoOrient: format === 'TIFF',
    });
  const isCmyk = (await open().metadata()).space === 'cmyk';
  const pipeline = isCmyk ? open().pipelineColourspace('cmyk').toColourspace('cmyk') : open().toColourspace('srgb');
  if (background !== undefined && !isCmyk) pipeline.flatten({ background });
  const { data, info } = await pipeline.removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  if (isCmyk && channels === 4) return { width, height, data: cmykToRgb(data) };
  if (channels !== 3) throw new Error(`it has ${channels} channels`);
  return { width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

/** Without a colour profile, as Pillow: each ink takes its share of what black lets through. */
function cmykToRgb(data: Uint8Array): Uint8Array {
  const out = new Uint8Array((data.length / 4) * 3);
  for (let i = 0, o = 0; i < data.length; i += 4, o += 3) {
    const light = 255 - data[i + 3];
    for (let c = 0; c < 3; c++) out[o + c] = light - Math.round((data[i + c] * light) / 255);
  }
  return out;
}

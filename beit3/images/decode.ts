/** Image files of all kinds to RGB bytes, as the official data loader (Pillow, `convert('RGB')`) has them. */

import { InputError, messageOf } from '../../core/errors.js';
import { inNode } from '../../core/runtime.js';
import { type ByteSource, readBytes, sourceName } from '../readBytes.js';
import { decodeGif } from './gif.js';
import { isTiffCutOff, readImageHeader } from './header.js';
import type { RgbImage } from './image.js';

/** Larger pictures are refused: one of this size takes 300 MB in memory. */
export const MAX_PIXELS = 100_000_000;
/** Thin pictures are limited too; JPEG has the same bound. */
const MAX_SIDE = 65_535;
const MAX_FILE_BYTES = 512 * 2 ** 20;

export interface DecodeOptions {
  /** What shows through transparent pixels (but of GIF files); by default transparency is dropped and the colours below it count. */
  readonly background?: 'white';
}

/**
 * Decodes PNG, JPEG, WebP, GIF, AVIF or TIFF from a path (Node), an address, a Blob or bytes. The first frame is taken,
 * transparency dropped without blending (unless asked for), colour profiles ignored, EXIF orientation not applied (save for TIFF): all as
 * Pillow does. 16-bit grey is scaled to 8 bits, where Pillow would clip it to white. TIFF needs Node; a
 * browser without WebCodecs (or a page that is not secure) loses colours below transparency.
 *
 * Throws InputError, naming the file, for what is missing, no image, damaged, cut off or larger than 100 megapixels.
 */
export async function decodeImage(source: ByteSource, { background }: DecodeOptions = {}): Promise<RgbImage> {
  const name = sourceName(source, 'The image');
  const bytes = await readBytes(source, { what: 'an image', maxBytes: MAX_FILE_BYTES });
  if (bytes.length === 0) throw new InputError(`${name} is empty; give an image file.`);
  const header = readImageHeader(bytes);
  if (header === undefined) {
    throw new InputError(`${name} is not an image of a known kind; give a PNG, JPEG, WebP, GIF, AVIF or TIFF file.`);
  }
  const { format, width, height } = header;
  const damaged = (why: string): InputError =>
    new InputError(`${name} is a damaged or incomplete ${format} file (${why}); get the file again.`);
  if (width === 0 || height === 0) throw damaged('its header has no size');
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    throw new InputError(
      `${name} has ${width} x ${height} pixels, more than the 100 megapixels or ${MAX_SIDE} a side that are read; ` +
        'make it smaller first.',
    );
  }
  if (format === 'TIFF' && isTiffCutOff(bytes)) throw damaged('its pixels are cut off');
  try {
    if (format === 'GIF') return decodeGif(bytes);
    if (inNode())
      return await (await import('./decodeSharp.js')).decodeWithSharp(bytes, format, MAX_PIXELS, background);
    return await (await import('./decodePage.js')).decodeInPage(bytes, format, background);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw damaged(reasonOf(error));
  }
}

/** The last of what a decoder complains about, line by line, in as many words as a sentence bears. */
function reasonOf(error: unknown): string {
  const lines = messageOf(error)
    .split('\n')
    .map((line) => line.trim().replace(/[.:]$/, ''))
    .filter((line) => /[a-z]{3}/i.test(line));
  const last = lines.at(-1) ?? 'it cannot be decoded';
  return last.length > 160 ? `${last.slice(0, 160)}...` : last;
}

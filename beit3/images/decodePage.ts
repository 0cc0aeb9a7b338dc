/** Decoding in a page or a worker of one, by the browser. */

import { InputError } from '../../core/errors.js';
import type { ImageFormat } from './header.js';
import type { RgbImage } from './image.js';
import { withoutExif } from './withoutExif.js';

const MIME: Record<ImageFormat, string> = {
  PNG: 'image/png',
  JPEG: 'image/jpeg',
  WebP: 'image/webp',
  GIF: 'image/gif',
  AVIF: 'image/avif',
  TIFF: 'image/tiff',
};

/** Throws whatever the browser throws for a damaged file, and InputError for TIFF. */
export async function decodeInPage(bytes: Uint8Array, format: ImageFormat, background?: 'white'): Promise<RgbImage> {
  if (format === 'TIFF') throw new InputError('A page cannot read TIFF images; convert it to PNG or JPEG.');
  // Browsers turn pictures by their EXIF orientation, the official data loader does not.
  const upright = withoutExif(bytes, format);
  if (background !== undefined) return drawOnCanvas(upright, format, background);
  return (await decodeKeepingColors(upright, format)) ?? drawOnCanvas(upright, format);
}

/** WebCodecs, which gives the colours of transparent pixels as they are in the file; undefined where it cannot. */
async function decodeKeepingColors(bytes: Uint8Array, format: ImageFormat): Promise<RgbImage | undefined> {
  if (typeof ImageDecoder === 'undefined' || format === 'JPEG') return undefined;
  let frame: VideoFrame | undefined;
  try {
    const decoder = new ImageDecoder({
      data: bytes as Uint8Array<ArrayBuffer>,
      type: MIME[format],
      colorSpaceConversion: 'none',
      preferAnimation: false,
    });
    frame = (await decoder.decode({ frameIndex: 0, completeFramesOnly: true })).image;
    decoder.close();
    const { format: layout, codedWidth: width, codedHeight: height } = frame;
    const order =
      layout === 'RGBA' || layout === 'RGBX'
        ? [0, 1, 2]
        : layout === 'BGRA' || layout === 'BGRX'
          ? [2, 1, 0]
          : undefined;
    if (order === undefined) return undefined;
    const pixels = new Uint8Array(width * height * 4);
    await frame.copyTo(pixels, { rect: { x: 0, y: 0, width, height }, layout: [{ offset: 0, stride: width * 4 }] });
    return pick(pixels, width, height, order);
  } catch {
    // The canvas tries next, and its error is the one to report.
    return undefined;
  } finally {
    frame?.close();
  }
}

async function drawOnCanvas(bytes: Uint8Array, format: ImageFormat, background?: 'white'): Promise<RgbImage> {
  const blob = new Blob([bytes as Uint8Array<ArrayBuffer>], { type: MIME[format] });
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (context === null) throw new Error('the browser gives no canvas');
    if (background !== undefined) {
      context.fillStyle = background;
      context.fillRect(0, 0, width, height);
    }
    context.drawImage(bitmap, 0, 0);
    return pick(context.getImageData(0, 0, width, height).data, width, height, [0, 1, 2]);
  } finally {
    bitmap.close();
  }
}

/** Three of the four channels, in the given order. */
function pick(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number, order: number[]): RgbImage {
  const data = new Uint8Array(width * height * 3);
  const [red, green, blue] = order;
  for (let i = 0, o = 0; o < data.length; i += 4, o += 3) {
    data[o] = pixels[i + red];
    data[o + 1] = pixels[i + green];
    data[o + 2] = pixels[i + blue];
  }
  return { width, height, data };
}

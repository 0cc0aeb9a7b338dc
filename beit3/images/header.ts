/** The size of a picture from the first bytes of its file, so that a huge one is refused before it is decoded. */

export type ImageFormat = 'PNG' | 'JPEG' | 'WebP' | 'GIF' | 'AVIF' | 'TIFF';

export interface ImageHeader {
  format: ImageFormat;
  width: number;
  height: number;
}

type Size = { width: number; height: number } | undefined;

/** Reads the header; undefined for a file of another kind, a size of 0 where the header is damaged. */
export function readImageHeader(bytes: Uint8Array): ImageHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const format = formatOf(bytes);
  if (format === undefined) return undefined;
  try {
    return { format, ...(SIZES[format](view) ?? { width: 0, height: 0 }) };
  } catch (error) {
    // The DataView ended before the header did.
    if (error instanceof RangeError) return { format, width: 0, height: 0 };
    throw error;
  }
}

function formatOf(bytes: Uint8Array): ImageFormat | undefined {
  const text = (from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to));
  if (text(0, 8) === '\x89PNG\r\n\x1a\n') return 'PNG';
  if (text(0, 3) === '\xff\xd8\xff') return 'JPEG';
  if (/^GIF8[79]a$/.test(text(0, 6))) return 'GIF';
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WEBP') return 'WebP';
  if (/^(II\*\0|MM\0\*)$/.test(text(0, 4))) return 'TIFF';
  // The list of brands follows the main one; 64 bytes hold more of them than files have.
  if (text(4, 8) === 'ftyp' && /avi[fs]/.test(text(8, 64))) return 'AVIF';
  return undefined;
}

const SIZES: Record<ImageFormat, (view: DataView) => Size> = {
  PNG: (view) => ({ width: view.getUint32(16), height: view.getUint32(20) }),
  GIF: (view) => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) }),
  JPEG: jpegSize,
  WebP: webpSize,
  TIFF: tiffSize,
  AVIF: avifSize,
};

function jpegSize(view: DataView): Size {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) return undefined;
    const marker = view.getUint8(at + 1);
    const isPadding = marker === 0xff;
    const isAlone = marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    if (isPadding || isAlone) {
      at += isPadding ? 1 : 2;
      continue;
    }
    // SOF0 to SOF15 without the three other markers among them.
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    }
    const length = view.getUint16(at + 2);
    if (length < 2) return undefined;
    at += 2 + length;
  }
}

function webpSize(view: DataView): Size {
  const kind = view.getUint32(12);
  if (kind === 0x56503820) {
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  }
  if (kind === 0x5650384c) {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  if (kind === 0x56503858) {
    const uint24 = (at: number): number => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    return { width: uint24(24) + 1, height: uint24(27) + 1 };
  }
  return undefined;
}

/** The first directory of a TIFF: calls with each tag, how many values it has, and the value at an index. */
function readTiffTags(view: DataView, visit: (tag: number, count: number, value: (i: number) => number) => void): void {
  const little = view.getUint8(0) === 0x49;
  const directory = view.getUint32(4, little);
  const tags = view.getUint16(directory, little);
  for (let i = 0; i < tags; i++) {
    const at = directory + 2 + 12 * i;
    const isShort = view.getUint16(at + 2, little) === 3;
    const count = view.getUint32(at + 4, little);
    const width = isShort ? 2 : 4;
    // Four bytes hold the values themselves or say where they are.
    const from = count * width <= 4 ? at + 8 : view.getUint32(at + 8, little);
    visit(view.getUint16(at, little), count, (index) => {
      return isShort ? view.getUint16(from + index * width, little) : view.getUint32(from + index * width, little);
    });
  }
}

function tiffSize(view: DataView): Size {
  const size = { width: 0, height: 0 };
  readTiffTags(view, (tag, _, value) => {
    if (tag === 256) size.width = value(0);
    else if (tag === 257) size.height = value(0);
  });
  return size;
}

/** Whether strips or tiles of a TIFF lie outside the file; its decoder would show them grey. */
export function isTiffCutOff(bytes: Uint8Array): boolean {
  const offsets: number[] = [];
  const lengths: number[] = [];
  try {
    readTiffTags(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), (tag, count, value) => {
      const list = tag === 273 || tag === 324 ? offsets : tag === 279 || tag === 325 ? lengths : undefined;
      for (let i = 0; list !== undefined && i < count; i++) list.push(value(i));
    });
  } catch (error) {
    if (error instanceof RangeError) return true;
    throw error;
  }
  return lengths.some((length, i) => offsets[i] + length > bytes.length);
}

/** The largest of the `ispe` boxes, which give the size of the image, its tiles and its thumbnails. */
function avifSize(view: DataView): Size {
  let size: Size;
  const walk = (from: number, to: number): void => {
    for (let at = from; at + 8 <= to; ) {
      const length = view.getUint32(at);
      const kind = view.getUint32(at + 4);
      const end = length === 0 ? to : at + length;
      if (end < at + 8 || end > to) return;
      if (kind === 0x6d657461)
        walk(at + 12, end); // meta, which has a version before its boxes
      else if (kind === 0x69707270 || kind === 0x6970636f)
        walk(at + 8, end); // iprp, ipco
      else if (kind === 0x69737065) {
        const [width, height] = [view.getUint32(at + 12), view.getUint32(at + 16)];
        if (size === undefined || width * height > size.width * size.height) size = { width, height };
      }
      at = end;
    }
  };
  walk(0, view.byteLength);
  return size;
}

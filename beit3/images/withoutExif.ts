/** Takes the EXIF block out of an image file, and with it the orientation by which browsers turn the picture. */

import type { ImageFormat } from './header.js';

/** A changed copy, or the same bytes where there is nothing to take out. */
export function withoutExif(bytes: Uint8Array, format: ImageFormat): Uint8Array {
  if (format === 'JPEG') return withoutJpegExif(bytes);
  if (format === 'PNG') return withoutChunk(bytes, 8, 0x65584966, pngChunkLength);
  if (format === 'WebP') return withoutChunk(bytes, 12, 0x45584946, webpChunkLength);
  return bytes;
}

/** APP1 segments lie among those before the pixels. */
function withoutJpegExif(bytes: Uint8Array): Uint8Array {
  let out = bytes;
  for (let at = 2; at + 10 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    const isExif = bytes[at + 1] === 0xe1 && String.fromCharCode(...bytes.subarray(at + 4, at + 9)) === 'Exif\0';
    if (isExif) {
      if (out === bytes) out = bytes.slice();
      // An application segment that nobody knows is skipped.
      out[at + 4] = 0x2d;
    }
    at += 2 + length;
  }
  return out;
}

/** The whole length of the chunk at `at`, and where its four letters are. */
type ChunkLength = (view: DataView, at: number) => { length: number; kindAt: number };

const pngChunkLength: ChunkLength = (view, at) => ({ length: view.getUint32(at) + 12, kindAt: at + 4 });

const webpChunkLength: ChunkLength = (view, at) => {
  const size = view.getUint32(at + 4, true);
  return { length: size + (size & 1) + 8, kindAt: at };
};

function withoutChunk(bytes: Uint8Array, first: number, kind: number, measure: ChunkLength): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = first; at + 12 <= bytes.length; ) {
    const { length, kindAt } = measure(view, at);
    if (view.getUint32(kindAt) === kind && at + length <= bytes.length) {
      const out = new Uint8Array(bytes.length - length);
      out.set(bytes.subarray(0, at));
      out.set(bytes.subarray(at + length), at);
      // A WebP file begins with its own length.
      if (first === 12) new DataView(out.buffer).setUint32(4, out.length - 8, true);
      return out;
    }
    at += length;
  }
  return bytes;
}

/**
 * The first frame of a GIF. We decode it ourselves because the official data loader drops transparency and keeps the
 * colours below it, which other decoders have already thrown away.
 */

import type { RgbImage } from './image.js';

/** Where the interlaced rows begin and how far apart they are, pass after pass. */
const PASSES = [
  [0, 8],
  [4, 8],
  [2, 4],
  [1, 2],
];

/** Decodes a file that begins with a GIF header of at most the allowed size. Throws RangeError where it is damaged. */
export function decodeGif(bytes: Uint8Array): RgbImage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const uint16 = (at: number): number => view.getUint16(at, true);
  const [width, height] = [uint16(6), uint16(8)];
  const flags = view.getUint8(10);
  let at = 13;
  const paletteAt = (present: boolean, bits: number): Uint8Array | undefined => {
    if (!present) return undefined;
    const length = 3 * 2 ** (bits + 1);
    if (at + length > bytes.length) throw new RangeError('the palette is cut off');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const globalPalette = paletteAt((flags & 0x80) !== 0, flags & 7);

  // Extensions (comments, timing, the transparent index) come before the frame.
  let transparent = 0;
  for (let kind = view.getUint8(at++); kind !== 0x2c; kind = view.getUint8(at++)) {
    if (kind !== 0x21) throw new RangeError('it has no frame');
    const isControl = view.getUint8(at++) === 0xf9;
    if (isControl && (view.getUint8(at + 1) & 1) !== 0) transparent = view.getUint8(at + 4);
    for (let length = view.getUint8(at++); length > 0; length = view.getUint8(at++)) at += length;
  }
  const [left, top, frameWidth, frameHeight] = [uint16(at), uint16(at + 2), uint16(at + 4), uint16(at + 6)];
  const frameFlags = view.getUint8(at + 8);
  at += 9;
  const palette = paletteAt((frameFlags & 0x80) !== 0, frameFlags & 7) ?? globalPalette;
  if (left + frameWidth > width || top + frameHeight > height)
    throw new RangeError('its frame lies outside the picture');
  const minimumBits = view.getUint8(at++);
  const indices = unpack(bytes, at, minimumBits, frameWidth * frameHeight);

  const data = new Uint8Array(width * height * 3);
  const paint = (pixel: number, index: number): void => {
    for (let c = 0; c < 3; c++) data[pixel * 3 + c] = palette === undefined ? index : (palette[index * 3 + c] ?? 0);
  };
  // Around a frame smaller than the picture Pillow puts the transparent colour, else the first one.
  if (frameWidth * frameHeight < width * height) {
    for (let i = 0; i < width * height; i++) paint(i, transparent);
  }
  const isInterlaced = (frameFlags & 0x40) !== 0;
  let from = 0;
  for (const [first, step] of isInterlaced ? PASSES : [[0, 1]]) {
    for (let y = first; y < frameHeight; y += step) {
      for (let x = 0; x < frameWidth; x++) paint((top + y) * width + left + x, indices[from++]);
    }
  }
  return { width, height, data };
}

/** Undoes the LZW compression of `count` palette indices, which lie in blocks of up to 255 bytes from `at` on. */
function unpack(bytes: Uint8Array, at: number, minimumBits: number, count: number): Uint8Array {
  if (minimumBits < 1 || minimumBits > 11) throw new RangeError('its code size is wrong');
  const out = new Uint8Array(count);
  const clear = 1 << minimumBits;
  const end = clear + 1;
  // Code c stands for the text of code prefix[c] and one more index; length[c] indices in all.
  const prefix = new Uint16Array(4096);
  const suffix = new Uint8Array(4096);
  const length = new Uint16Array(4096);
  for (let code = 0; code < clear; code++) {
    suffix[code] = code;
    length[code] = 1;
  }
  let [next, codeBits, previous] = [end + 1, minimumBits + 1, -1];
  let [buffer, buffered, blockLeft] = [0, 0, 0];
  let o = 0;
  while (o < count) {
    while (buffered < codeBits) {
      if (blockLeft === 0) blockLeft = bytes[at++] ?? 0;
      if (blockLeft === 0 || at >= bytes.length) throw new RangeError('its pixels are cut off');
      buffer |= bytes[at++] << buffered;
      buffered += 8;
      blockLeft--;
    }
    const code = buffer & ((1 << codeBits) - 1);
    buffer >>>= codeBits;
    buffered -= codeBits;
    if (code === end) throw new RangeError('its pixels are cut off');
    if (code === clear) {
      [next, codeBits, previous] = [end + 1, minimumBits + 1, -1];
      continue;
    }
    // A code not made yet is the previous text with its own first index behind it.
    const isKnown = code < next && code !== clear;
    if (!isKnown && (code !== next || previous < 0)) throw new RangeError('its pixels are damaged');
    const source = isKnown ? code : previous;
    const size = length[source];
    let walk = source;
    for (let i = size - 1; i >= 0; i--) {
      if (o + i < count) out[o + i] = suffix[walk];
      if (i > 0) walk = prefix[walk];
    }
    const head = suffix[walk];
    if (!isKnown && o + size < count) out[o + size] = head;
    o += isKnown ? size : size + 1;
    if (previous >= 0 && next < 4096) {
      prefix[next] = previous;
      suffix[next] = head;
      length[next] = length[previous] + 1;
      next++;
      if (next === 1 << codeBits && codeBits < 12) codeBits++;
    }
    previous = code;
  }
  return out;
}

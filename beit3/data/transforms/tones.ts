/**
 * Changes of colour as the Pillow library makes them (ImageOps, ImageEnhance), equal bit for bit: sums are rounded to
 * single precision where Pillow computes in it. Each returns a new picture, or the same where nothing changes.
 */

import type { RgbImage } from '../../images/index.js';

/** A byte for each byte, one table for all channels or one for each. */
export function look(image: RgbImage, ...tables: readonly Uint8Array[]): RgbImage {
  const [red, green = red, blue = red] = tables;
  const from = image.data;
  const data = new Uint8Array(from.length);
  for (let i = 0; i < from.length; i += 3) {
    data[i] = red[from[i]];
    data[i + 1] = green[from[i + 1]];
    data[i + 2] = blue[from[i + 2]];
  }
  return { ...image, data };
}

/** The table of `map`, cut to 0..255 and its fraction dropped. */
export function tableOf(map: (byte: number) => number): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => Math.max(0, Math.min(255, Math.trunc(map(byte)))));
}

/** How often each value occurs in each channel. */
function histograms({ data }: RgbImage): Int32Array[] {
  const red = new Int32Array(256);
  const green = new Int32Array(256);
  const blue = new Int32Array(256);
  for (let i = 0; i < data.length; i += 3) {
    red[data[i]]++;
    green[data[i + 1]]++;
    blue[data[i + 2]]++;
  }
  return [red, green, blue];
}

/** Stretches each channel from its lowest and highest value to 0 and 255. */
export const autoContrast = (image: RgbImage): RgbImage => stretch(image, (low) => -low);

/** `autoContrast` with a say in how the lowest value is negated. */
export function stretch(image: RgbImage, negate: (low: number) => number): RgbImage {
  const tables = histograms(image).map((counts) => {
    const low = counts.findIndex((count) => count > 0);
    const high = counts.findLastIndex((count) => count > 0);
    if (high <= low) return tableOf((byte) => byte);
    const scale = 255 / (high - low);
    const offset = negate(low) * scale;
    return tableOf((byte) => byte * scale + offset);
  });
  return look(image, ...tables);
}

/** Makes the values of each channel about equally frequent. */
export function equalize(image: RgbImage): RgbImage {
  const tables = histograms(image).map((counts) => {
    const last = counts.findLastIndex((count) => count > 0);
    const step = Math.floor((image.width * image.height - counts[last]) / 255);
    if (step === 0) return tableOf((byte) => byte);
    let sum = Math.floor(step / 2);
    return tableOf((byte) => {
      const value = Math.floor(sum / step);
      sum += counts[byte];
      return value;
    });
  });
  return look(image, ...tables);
}

export const invert = (image: RgbImage): RgbImage => look(image, INVERTED);
const INVERTED = tableOf((byte) => 255 - byte);

/** Inverts values of at least `threshold`. */
export function solarize(image: RgbImage, threshold: number): RgbImage {
  return look(
    image,
    tableOf((byte) => (byte < threshold ? byte : 255 - byte)),
  );
}

/** Adds to the values below 128. */
export function solarizeAdd(image: RgbImage, add: number): RgbImage {
  return look(
    image,
    tableOf((byte) => (byte < 128 ? byte + add : byte)),
  );
}

/** Keeps the upper bits of each value. */
export function posterize(image: RgbImage, bits: number): RgbImage {
  if (bits >= 8) return image;
  const mask = ~(2 ** (8 - bits) - 1);
  return look(
    image,
    tableOf((byte) => byte & mask),
  );
}

/** From `plain` (factor 0) by way of the value itself (factor 1) to beyond (above 1), as Pillow's Image.blend. */
function blend(plain: number, value: number, factor: number): number {
  const mixed = Math.fround(plain + Math.fround(factor * (value - plain)));
  return mixed <= 0 ? 0 : mixed >= 255 ? 255 : Math.trunc(mixed);
}

export function brightness(image: RgbImage, factor: number): RgbImage {
  const single = Math.fround(factor);
  return look(
    image,
    tableOf((byte) => blend(0, byte, single)),
  );
}

/** Grey of the pixel at `i`, by the weights of ITU-R 601. */
const greyAt = (data: Uint8Array, i: number): number =>
  (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;

/** Away from, or towards, the mean grey of the picture. */
export function contrast(image: RgbImage, factor: number): RgbImage {
  const { data } = image;
  let sum = 0;
  for (let i = 0; i < data.length; i += 3) sum += greyAt(data, i);
  const mean = Math.trunc(sum / (data.length / 3) + 0.5);
  const single = Math.fround(factor);
  return look(
    image,
    tableOf((byte) => blend(mean, byte, single)),
  );
}

/** Saturation: away from, or towards, the grey of each pixel. */
export function color(image: RgbImage, factor: number): RgbImage {
  const from = image.data;
  const data = new Uint8Array(from.length);
  const single = Math.fround(factor);
  for (let i = 0; i < from.length; i += 3) {
    const grey = greyAt(from, i);
    data[i] = blend(grey, from[i], single);
    data[i + 1] = blend(grey, from[i + 1], single);
    data[i + 2] = blend(grey, from[i + 2], single);
  }
  return { ...image, data };
}

/** Each byte replaced by the 3 x 3 mean around it in which it counts five times; the outermost pixels stay. */
export function smooth({ width, height, data: from }: RgbImage): RgbImage {
  const data = from.slice();
  const stride = width * 3;
  for (let y = 1; y < height - 1; y++) {
    for (let i = y * stride + 3; i < (y + 1) * stride - 3; i++) {
      const above = from[i - stride - 3] + from[i - stride] + from[i - stride + 3];
      const below = from[i + stride - 3] + from[i + stride] + from[i + stride + 3];
      const sum = above + below + from[i - 3] + 5 * from[i] + from[i + 3];
      // The nearest whole number; a thirteenth is never halfway.
      data[i] = Math.floor((2 * sum + 13) / 26);
    }
  }
  return { width, height, data };
}

/** Away from, or towards, the smoothed picture. */
export function sharpness(image: RgbImage, factor: number): RgbImage {
  const from = image.data;
  const { data } = smooth(image);
  const single = Math.fround(factor);
  for (let i = 0; i < data.length; i++) data[i] = blend(data[i], from[i], single);
  return { ...image, data };
}

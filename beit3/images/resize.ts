/**
 * The antialiased resize of the Pillow library, which the official BEiT-3 uses: horizontally, then vertically, each time
 * to 8 bits, with weights in 22-bit fixed point. Results are equal bit for bit.
 */

import { OpError } from '../../core/errors.js';
import type { RgbImage } from './image.js';

/** Weights are integers of this many bits: 32, less 8 for the value, less 2 for sums that overshoot. */
const PRECISION = 32 - 8 - 2;
/** Of Keys' cubic kernel (1981). */
const A = -0.5;

export type ResizeFilter = 'bicubic' | 'bilinear';

/** How far from its centre a filter reaches, and its weight at a distance. */
const KERNELS: Record<ResizeFilter, { radius: number; weight: (distance: number) => number }> = {
  bicubic: { radius: 2, weight: cubic },
  bilinear: { radius: 1, weight: (distance) => Math.max(0, 1 - Math.abs(distance)) },
};

/** A part of the resized image. */
export interface Rectangle {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** For each output position: the first input it takes, how many, and their weights at i * stride. */
interface Weights {
  first: Int32Array;
  count: Int32Array;
  values: Int32Array;
  stride: number;
}

/** `resizeImage` with Keys' cubic kernel. */
export function resizeBicubic(image: RgbImage, width: number, height: number, part?: Rectangle): RgbImage {
  return resizeImage(image, width, height, 'bicubic', part);
}

/**
 * Resizes `image` to width x height. With `part`, only that rectangle of the result is computed and returned: it is
 * what cropping the whole would give, without the time and memory of the rest.
 */
export function resizeImage(
  image: RgbImage,
  width: number,
  height: number,
  filter: ResizeFilter,
  part?: Rectangle,
): RgbImage {
  const { left, top, ...size } = part ?? { left: 0, top: 0, width, height };
  const counts = [image.width, image.height, width, height, size.width, size.height];
  const fits = left >= 0 && top >= 0 && left + size.width <= width && top + size.height <= height;
  if (!fits || !Number.isInteger(left) || !Number.isInteger(top) || counts.some((n) => !Number.isInteger(n) || n < 1)) {
    throw new OpError(
      'resizeImage',
      `expected whole sizes of at least 1 and a part inside, got ${image.width} x ${image.height} to ${width} x ${height}.`,
    );
  }
  if (image.data.length !== image.width * image.height * 3) {
    throw new OpError(
      'resizeImage',
      `expected RGB bytes [${image.height}, ${image.width}, 3], got ${image.data.length}.`,
    );
  }
  if (image.height > 100 * image.width && height < image.height && width !== image.width) {
    // Pillow (since 12) shrinks very tall images vertically first, which rounds differently.
    const rows = { left: 0, top, width: image.width, height: size.height };
    const short = resizeImage(image, image.width, height, filter, rows);
    return resizeImage(short, width, size.height, filter, { ...size, left, top: 0 });
  }
  const columns = weightsFor(filter, image.width, width, left, size.width);
  const rows = weightsFor(filter, image.height, height, top, size.height);
  // The rows of the image that the result has a use for.
  const firstRow = rows.first[0];
  const lastRow = rows.first[size.height - 1] + rows.count[size.height - 1];
  const stride = image.width * 3;
  let between = image.data.subarray(firstRow * stride, lastRow * stride);
  if (image.width !== width) between = resizeRows(between, lastRow - firstRow, image.width, columns, size.width);
  else if (size.width !== width) between = cutColumns(between, lastRow - firstRow, width, left, size.width);

  let data: Uint8Array;
  if (image.height !== height) data = resizeColumns(between, size.width * 3, firstRow, rows, size.height);
  else data = between.slice((top - firstRow) * size.width * 3, (top - firstRow + size.height) * size.width * 3);
  return { width: size.width, height: size.height, data };
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * A;
  return 0;
}

/** Weights for the output positions from .. from + count - 1 when `inSize` pixels become `outSize`. */
function weightsFor(filter: ResizeFilter, inSize: number, outSize: number, from: number, count: number): Weights {
  const kernel = KERNELS[filter];
  const scale = inSize / outSize;
  // Shrinking widens the kernel, so that every input pixel counts.
  const widening = Math.max(scale, 1);
  const radius = kernel.radius * widening;
  const stride = Math.ceil(radius) * 2 + 1;
  const weights: Weights = {
    first: new Int32Array(count),
    count: new Int32Array(count),
    values: new Int32Array(count * stride),
    stride,
  };
  const exact = new Float64Array(stride);
  const inverse = 1 / widening;
  for (let i = 0; i < count; i++) {
    const center = (from + i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - radius + 0.5));
    const taken = Math.min(inSize, Math.trunc(center + radius + 0.5)) - first;
    let sum = 0;
    for (let j = 0; j < taken; j++) {
      exact[j] = kernel.weight((j + first - center + 0.5) * inverse);
      sum += exact[j];
    }
    for (let j = 0; j < taken; j++) {
      const weight = sum === 0 ? exact[j] : exact[j] / sum;
      weights.values[i * stride + j] = Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** PRECISION);
    }
    weights.first[i] = first;
    weights.count[i] = taken;
  }
  return weights;
}

const HALF = 1 << (PRECISION - 1);

/** A sum of weighted values as a byte. */
function toByte(sum: number): number {
  return Math.max(0, Math.min(255, sum >> PRECISION));
}

function resizeRows(data: Uint8Array, rowCount: number, inWidth: number, weights: Weights, width: number): Uint8Array {
  const { first, count, values, stride } = weights;
  const out = new Uint8Array(rowCount * width * 3);
  let o = 0;
  for (let row = 0; row < rowCount; row++) {
    for (let x = 0; x < width; x++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let p = (row * inWidth + first[x]) * 3;
      const end = x * stride + count[x];
      for (let k = x * stride; k < end; k++) {
        const weight = values[k];
        red = (red + Math.imul(data[p], weight)) | 0;
        green = (green + Math.imul(data[p + 1], weight)) | 0;
        blue = (blue + Math.imul(data[p + 2], weight)) | 0;
        p += 3;
      }
      out[o] = toByte(red);
      out[o + 1] = toByte(green);
      out[o + 2] = toByte(blue);
      o += 3;
    }
  }
  return out;
}

/** `data` begins with the row firstRow and has `stride` bytes in a row. */
function resizeColumns(
  data: Uint8Array,
  stride: number,
  firstRow: number,
  weights: Weights,
  height: number,
): Uint8Array {
  const out = new Uint8Array(height * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; y++) {
    sums.fill(HALF);
    for (let k = 0; k < weights.count[y]; k++) {
      const weight = weights.values[y * weights.stride + k];
      const from = (weights.first[y] - firstRow + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] += Math.imul(data[from + i], weight);
    }
    const to = y * stride;
    for (let i = 0; i < stride; i++) out[to + i] = toByte(sums[i]);
  }
  return out;
}

function cutColumns(data: Uint8Array, rowCount: number, inWidth: number, left: number, width: number): Uint8Array {
  const out = new Uint8Array(rowCount * width * 3);
  for (let row = 0; row < rowCount; row++) {
    const from = (row * inWidth + left) * 3;
    out.set(data.subarray(from, from + width * 3), row * width * 3);
  }
  return out;
}

/** Shear, shift and rotation as Pillow's Image.transform and Image.rotate make them, equal bit for bit. */

import type { ResizeFilter, RgbImage } from '../../images/index.js';
import type { Color } from './warp.js';

/** Where pixel (x, y) of the result comes from: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5, centres at halves. */
export type Affine = readonly [number, number, number, number, number, number];

export const shearX = (factor: number): Affine => [1, factor, 0, 0, 1, 0];
export const shearY = (factor: number): Affine => [1, 0, 0, factor, 1, 0];
export const shiftX = (pixels: number): Affine => [1, 0, pixels, 0, 1, 0];
export const shiftY = (pixels: number): Affine => [1, 0, 0, 0, 1, pixels];

/** Anticlockwise around the centre. */
export function rotation(degrees: number, width: number, height: number): Affine {
  const round = (value: number): number => Number(value.toFixed(15));
  // Python's modulo is never negative.
  const angle = -((((degrees % 360) + 360) % 360) * (Math.PI / 180));
  const [a, b] = [round(Math.cos(angle)), round(Math.sin(angle))];
  const d = round(-Math.sin(angle));
  const [x, y] = [width / 2, height / 2];
  return [a, b, a * -x + b * -y + x, d, a, d * -x + a * -y + y];
}

/** Pixels that come from outside the picture become `fill`. */
export function transformAffine(image: RgbImage, matrix: Affine, filter: ResizeFilter, fill: Color): RgbImage {
  const { width, height } = image;
  const data = new Uint8Array(image.data.length);
  const [a, b, c, d, e, f] = matrix;
  const sample = filter === 'bicubic' ? bicubicAt : bilinearAt;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const fromX = a * (x + 0.5) + b * (y + 0.5) + c;
      const fromY = d * (x + 0.5) + e * (y + 0.5) + f;
      if (fromX >= 0 && fromX < width && fromY >= 0 && fromY < height) {
        sample(image, fromX - 0.5, fromY - 0.5, data, to);
      } else {
        data[to] = fill[0];
        data[to + 1] = fill[1];
        data[to + 2] = fill[2];
      }
    }
  }
  return { width, height, data };
}

/** Writes the pixel of `image` around (fromX, fromY) to `out`; at the edge, the outermost pixels repeat. */
function bilinearAt(image: RgbImage, fromX: number, fromY: number, out: Uint8Array, to: number): void {
  const { width, height, data } = image;
  const x = Math.floor(fromX);
  const y = Math.floor(fromY);
  const dx = fromX - x;
  const dy = fromY - y;
  const left = Math.max(0, x) * 3;
  const right = Math.min(width - 1, x + 1) * 3;
  const upper = Math.max(0, y) * width * 3;
  const lower = Math.min(height - 1, y + 1) * width * 3;
  for (let channel = 0; channel < 3; channel++) {
    const first = data[upper + left + channel];
    const third = data[lower + left + channel];
    const above = first + (data[upper + right + channel] - first) * dx;
    const below = third + (data[lower + right + channel] - third) * dx;
    out[to + channel] = above + (below - above) * dy;
  }
}

function bicubicAt(image: RgbImage, fromX: number, fromY: number, out: Uint8Array, to: number): void {
  const { width, height, data } = image;
  const x = Math.floor(fromX);
  const y = Math.floor(fromY);
  const dx = fromX - x;
  const dy = fromY - y;
  const x0 = Math.max(0, x - 1) * 3;
  const x1 = Math.max(0, x) * 3;
  const x2 = Math.min(width - 1, x + 1) * 3;
  const x3 = Math.min(width - 1, x + 2) * 3;
  const y0 = Math.max(0, y - 1) * width * 3;
  const y1 = Math.max(0, y) * width * 3;
  const y2 = Math.min(height - 1, y + 1) * width * 3;
  const y3 = Math.min(height - 1, y + 2) * width * 3;
  for (let channel = 0; channel < 3; channel++) {
    const a = y0 + channel;
    const b = y1 + channel;
    const c = y2 + channel;
    const d = y3 + channel;
    const value = cubicBetween(
      cubicBetween(data[a + x0], data[a + x1], data[a + x2], data[a + x3], dx),
      cubicBetween(data[b + x0], data[b + x1], data[b + x2], data[b + x3], dx),
      cubicBetween(data[c + x0], data[c + x1], data[c + x2], data[c + x3], dx),
      cubicBetween(data[d + x0], data[d + x1], data[d + x2], data[d + x3], dx),
      dy,
    );
    out[to + channel] = value <= 0 ? 0 : value >= 255 ? 255 : value;
  }
}

/** The cubic through four values, between the middle two; with Pillow's order of operations. */
function cubicBetween(v1: number, v2: number, v3: number, v4: number, at: number): number {
  const p2 = -v1 + v3;
  const p3 = 2 * (v1 - v2) + v3 - v4;
  const p4 = -v1 + v2 - v3 + v4;
  return v2 + at * (p2 + at * (p3 + at * p4));
}

/**
 * Affine warps as OpenCV 4's warpAffine makes them with bilinear interpolation and a border of one colour, equal bit for
 * bit: positions are rounded to 1/32 of a pixel by way of 1/1024, weights are whole numbers.
 */

import type { RgbImage } from '../../images/index.js';

/** Red, green, blue; 0 to 255. */
export type Color = readonly [number, number, number];

/** Where pixel (x, y) of the picture goes: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5. */
export type Warp = readonly [number, number, number, number, number, number];

/** Anticlockwise around the middle of width x height. */
export function warpRotation(degrees: number, width: number, height: number): Warp {
  const angle = degrees * (Math.PI / 180);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [x, y] = [width / 2, height / 2];
  return [cos, sin, (1 - cos) * x - sin * y, -sin, cos, sin * x + (1 - cos) * y];
}

/** `image` warped within its own frame. */
export function warpAffine(image: RgbImage, warp: Warp, fill: Color): RgbImage {
  const { width, height, data: from } = image;
  const [a, b, c, d, e, f] = inverse(warp);
  const data = new Uint8Array(from.length);
  const stepsX = Int32Array.from({ length: width }, (_, x) => roundHalfToEven(a * x * 1024));
  const stepsY = Int32Array.from({ length: width }, (_, x) => roundHalfToEven(d * x * 1024));
  for (let y = 0, to = 0; y < height; y++) {
    const startX = roundHalfToEven((b * y + c) * 1024) + 16;
    const startY = roundHalfToEven((e * y + f) * 1024) + 16;
    for (let x = 0; x < width; x++, to += 3) {
      const fixedX = (startX + stepsX[x]) >> 5;
      const fixedY = (startY + stepsY[x]) >> 5;
      const left = fixedX >> 5;
      const top = fixedY >> 5;
      const dx = fixedX & 31;
      const dy = fixedY & 31;
      const hasLeft = left >= 0 && left < width;
      const hasRight = left >= -1 && left < width - 1;
      const hasTop = top >= 0 && top < height;
      const hasBottom = top >= -1 && top < height - 1;
      const at = (top * width + left) * 3;
      for (let channel = 0; channel < 3; channel++) {
        const outside = fill[channel];
        const i = at + channel;
        const j = i + width * 3;
        const first = hasTop && hasLeft ? from[i] : outside;
        const second = hasTop && hasRight ? from[i + 3] : outside;
        const third = hasBottom && hasLeft ? from[j] : outside;
        const fourth = hasBottom && hasRight ? from[j + 3] : outside;
        const above = first * (32 - dx) + second * dx;
        const below = third * (32 - dx) + fourth * dx;
        data[to + channel] = (above * (32 - dy) + below * dy + 512) >> 10;
      }
    }
  }
  return { width, height, data };
}

/** From the result back to the picture. */
function inverse([a, b, c, d, e, f]: Warp): Warp {
  const scale = 1 / (a * e - b * d);
  const [p, q, r, s] = [e * scale, b * -scale, d * -scale, a * scale];
  return [p, q, -p * c - q * f, r, s, -r * c - s * f];
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

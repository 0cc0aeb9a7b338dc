/** What test/reference/transforms.py has written, our operations by the names it uses, and chances to check. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import { rotation, shearX, shearY, shiftX, shiftY, transformAffine } from '../../beit3/data/transforms/affine.js';
import { crop, mirror } from '../../beit3/data/transforms/crop.js';
import type { Color } from '../../beit3/data/transforms/index.js';
import {
  brighten,
  overstretch,
  sharpen,
  warpShearX,
  warpShearY,
  warpShiftX,
  warpShiftY,
} from '../../beit3/data/transforms/randAugment.js';
import {
  autoContrast,
  brightness,
  color,
  contrast,
  equalize,
  invert,
  posterize,
  sharpness,
  solarize,
  solarizeAdd,
} from '../../beit3/data/transforms/tones.js';
import { warpAffine, warpRotation } from '../../beit3/data/transforms/warp.js';
import { type ResizeFilter, type RgbImage, resizeImage } from '../../beit3/images/index.js';

const stored: {
  width: number;
  height: number;
  pictures: Record<string, string>;
  cases: { picture: string; name: string; args: (number | string)[]; width: number; height: number }[];
  results: string;
} = JSON.parse(readFileSync(new URL('../../../test/fixtures/transforms.json', import.meta.url), 'utf8'));

const unpack = (packed: string): Uint8Array => new Uint8Array(inflateSync(Buffer.from(packed, 'base64')));

export function picture(name: string): RgbImage {
  return { width: stored.width, height: stored.height, data: unpack(stored.pictures[name]) };
}

const results = unpack(stored.results);
let at = 0;

/** What Pillow (small initial) or the official randaug.py (capital initial) makes of each picture. */
export const CASES = stored.cases.map(({ width, height, ...described }) => {
  const data = results.subarray(at, (at += width * height * 3));
  return { ...described, result: { width, height, data } };
});

export const FILL: Color = [124, 116, 104];
const GREY: Color = [128, 128, 128];

type Operation = (image: RgbImage, args: number[], filter: ResizeFilter) => RgbImage;

/** Name in the fixture -> ours. */
export const OPERATIONS: Record<string, Operation> = {
  autoContrast,
  equalize,
  invert,
  posterize: (image, [bits]) => posterize(image, bits),
  solarize: (image, [threshold]) => solarize(image, threshold),
  solarizeAdd: (image, [add]) => solarizeAdd(image, add),
  color: (image, [factor]) => color(image, factor),
  contrast: (image, [factor]) => contrast(image, factor),
  brightness: (image, [factor]) => brightness(image, factor),
  sharpness: (image, [factor]) => sharpness(image, factor),
  shearX: (image, [factor], filter) => transformAffine(image, shearX(factor), filter, FILL),
  shearY: (image, [factor], filter) => transformAffine(image, shearY(factor), filter, FILL),
  shiftX: (image, [pixels], filter) => transformAffine(image, shiftX(pixels), filter, FILL),
  shiftY: (image, [pixels], filter) => transformAffine(image, shiftY(pixels), filter, FILL),
  rotate: (image, [degrees], filter) =>
    transformAffine(image, rotation(degrees, image.width, image.height), filter, FILL),
  resize: (image, [width, height], filter) => resizeImage(image, width, height, filter),
  cropAndResize: (image, [left, top, width, height, size], filter) =>
    resizeImage(crop(image, { left, top, width, height }), size, size, filter),
  mirror,
  AutoContrast: overstretch,
  Equalize: equalize,
  Brightness: (image, [factor]) => brighten(image, factor),
  Sharpness: (image, [factor]) => sharpen(image, factor),
  ShearX: (image, [factor]) => warpAffine(image, warpShearX(factor), GREY),
  ShearY: (image, [factor]) => warpAffine(image, warpShearY(factor), GREY),
  TranslateX: (image, [pixels]) => warpAffine(image, warpShiftX(pixels), GREY),
  TranslateY: (image, [pixels]) => warpAffine(image, warpShiftY(pixels), GREY),
  Rotate: (image, [degrees]) => warpAffine(image, warpRotation(degrees, image.width, image.height), GREY),
};

/** A picture as a string that is equal for equal bytes. */
export const key = (data: Uint8Array): string => Buffer.from(data).toString('base64');

/** Fails unless `draw` gives these pictures, and no others, as often as chance has it: within five standard deviations. */
export function assertFrequencies(draw: () => RgbImage, draws: number, outcomes: readonly [number, RgbImage][]): void {
  const chances = new Map<string, number>();
  for (const [chance, { data }] of outcomes) chances.set(key(data), (chances.get(key(data)) ?? 0) + chance);
  const counts = new Map<string, number>();
  for (let i = 0; i < draws; i++) {
    const drawn = key(draw().data);
    assert.ok(chances.has(drawn), 'a picture that no operation gives');
    counts.set(drawn, (counts.get(drawn) ?? 0) + 1);
  }
  for (const [drawn, chance] of chances) assertOften(counts.get(drawn) ?? 0, draws, chance);
}

export function assertOften(count: number, draws: number, chance: number): void {
  const slack = 5 * Math.sqrt(draws * chance * (1 - chance));
  assert.ok(Math.abs(count - draws * chance) <= slack, `${count} times instead of ${draws * chance} +- ${slack}`);
}

export const dull = picture('dull');

/** One of our operations on `dull`. */
export const change = (name: string, args: number[] = [], filter: ResizeFilter = 'bicubic'): RgbImage =>
  OPERATIONS[name](dull, args, filter);

/** Mean and variance. */
export function moments(values: readonly number[]): [number, number] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return [mean, values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length];
}

/** Fails unless the values look even from `low` to `high`: bounds, mean and variance. */
export function assertEven(values: readonly number[], low: number, high: number, slack: number): void {
  const shares = values.map((value) => (value - low) / (high - low));
  const [mean, variance] = moments(shares);
  const lowest = Math.min(...shares);
  const highest = Math.max(...shares);
  assert.ok(lowest >= -slack && highest <= 1 + slack && lowest < 0.02 && highest > 0.98, `${lowest} to ${highest}`);
  const error = 5 / Math.sqrt(12 * values.length) + slack;
  assert.ok(Math.abs(mean - 0.5) < error && Math.abs(variance - 1 / 12) < error, `mean ${mean}, variance ${variance}`);
}

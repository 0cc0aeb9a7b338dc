/** From an icon to pixels: SVG text, and its drawing by sharp. Needs Node. */

import type { Sharp, SharpInput, SharpOptions } from 'sharp';
import { InputError, messageOf } from '../../core/errors.js';
import type { ResolvedIcon } from './join.js';

/** What is used of the sharp package. */
export interface SharpModule {
  (input?: SharpInput, options?: SharpOptions): Sharp;
  concurrency(threads?: number): number;
  versions: { sharp?: string; vips: string };
}

/** The sharp package, which is an optional dependency. Throws InputError where it is not installed or cannot load. */
export async function loadSharp(): Promise<SharpModule> {
  try {
    return (await import('sharp')).default;
  } catch (error) {
    const why = messageOf(error).split('\n')[0];
    throw new InputError(`drawing the emoji needs the package sharp, which did not load (${why}): npm install sharp`);
  }
}

/**
 * The icon as a whole SVG document of `size` x `size` pixels. A box that is not square is centred; flips and quarter
 * turns are about the middle of the box.
 */
export function iconToSvg(icon: ResolvedIcon, size: number): string {
  const { left, top, width, height } = icon;
  const centreX = left + width / 2;
  const centreY = top + height / 2;
  let body = icon.body;
  if (icon.hFlip || icon.vFlip) {
    const scale = `${icon.hFlip ? -1 : 1} ${icon.vFlip ? -1 : 1}`;
    body = `<g transform="translate(${centreX} ${centreY}) scale(${scale}) translate(${-centreX} ${-centreY})">${body}</g>`;
  }
  if (icon.rotate !== 0) body = `<g transform="rotate(${icon.rotate * 90} ${centreX} ${centreY})">${body}</g>`;
  const [w, h] = icon.rotate % 2 === 1 ? [height, width] : [width, height];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${size}" height="${size}" ` +
    `viewBox="${centreX - w / 2} ${centreY - h / 2} ${w} ${h}">${body}</svg>`
  );
}

/** Draws an SVG of `size` x `size` pixels on white: RGB bytes [size, size, 3]. */
export async function drawSvg(sharp: SharpModule, svg: string, size: number): Promise<Uint8Array> {
  const { data, info } = await sharp(Buffer.from(svg))
    .flatten({ background: '#ffffff' })
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.width !== size || info.height !== size || info.channels !== 3) {
    throw new Error(`sharp drew ${info.width}x${info.height}x${info.channels} where ${size}x${size}x3 was asked for`);
  }
  return data;
}

/** True for a picture of one colour all over (to within 2 of 255): nothing was drawn. */
export function isBlank(pixels: Uint8Array): boolean {
  const low = [255, 255, 255];
  const high = [0, 0, 0];
  for (let i = 0; i < pixels.length; i++) {
    const c = i % 3;
    if (pixels[i] < low[c]) low[c] = pixels[i];
    if (pixels[i] > high[c]) high[c] = pixels[i];
  }
  return high.every((value, c) => value - low[c] <= 2);
}

/** Encodes RGB bytes [height, width, 3] as a PNG file, enlarged `scale` times with hard edges. */
export async function encodePng(pixels: Uint8Array, width: number, height: number, scale = 1): Promise<Uint8Array> {
  const sharp = await loadSharp();
  const image = sharp(Buffer.from(pixels.buffer, pixels.byteOffset, pixels.byteLength), {
    raw: { width, height, channels: 3 },
  });
  if (scale !== 1) image.resize(width * scale, height * scale, { kernel: 'nearest' });
  return image.png({ compressionLevel: 9 }).toBuffer();
}

/** Pictures of where a model looks. */
import type { RgbImage } from '../images/index.js';
import { resizeImage } from '../images/resize.js';

/** Colours of little to much attention: dark blue, cyan, yellow, red. */
const COLOURS: readonly (readonly [number, number, number])[] = [
  [0, 0, 110],
  [0, 130, 255],
  [90, 255, 170],
  [255, 225, 0],
  [225, 0, 0],
];
/** How much of the picture a colour hides, where there is no attention and where there is most. */
const [LEAST_COVER, MOST_COVER] = [0.25, 0.65];

/** How much each patch gets, row by row; any scale. */
export interface PatchMap {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

/** The picture under colours that go smoothly from patch to patch; the patch with most attention is red. */
export function overlay(image: RgbImage, map: PatchMap): RgbImage {
  const { width, height } = image;
  const levels = resizeImage(grey(map), width, height, 'bilinear').data;
  const data = new Uint8Array(image.data.length);
  for (let i = 0; i < data.length; i += 3) {
    const level = levels[i] / 255;
    const cover = LEAST_COVER + (MOST_COVER - LEAST_COVER) * level;
    const at = Math.min(COLOURS.length - 2, Math.floor(level * (COLOURS.length - 1)));
    const between = level * (COLOURS.length - 1) - at;
    for (let c = 0; c < 3; c++) {
      const colour = COLOURS[at][c] + (COLOURS[at + 1][c] - COLOURS[at][c]) * between;
      data[i + c] = Math.round(image.data[i + c] * (1 - cover) + colour * cover);
    }
  }
  return { width, height, data };
}

/** A map as a grey picture, a pixel a patch, from its least to its greatest value. */
function grey({ rows, columns, values }: PatchMap): RgbImage {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  const scale = most > least ? 255 / (most - least) : 0;
  const data = new Uint8Array(rows * columns * 3);
  values.forEach((value, i) => {
    data.fill(Math.round((value - least) * scale), 3 * i, 3 * i + 3);
  });
  return { width: columns, height: rows, data };
}

const GAP = 4;

/** Pictures of one size side by side in rows as square as can be, white between them. */
export function sheet(images: readonly RgbImage[]): RgbImage {
  const [{ width, height }] = images;
  const columns = Math.ceil(Math.sqrt(images.length));
  const rows = Math.ceil(images.length / columns);
  const whole = { width: columns * (width + GAP) - GAP, height: rows * (height + GAP) - GAP };
  const data = new Uint8Array(whole.width * whole.height * 3).fill(255);
  images.forEach((image, n) => {
    const [left, top] = [(n % columns) * (width + GAP), Math.floor(n / columns) * (height + GAP)];
    for (let y = 0; y < height; y++)
      data.set(image.data.subarray(3 * y * width, 3 * (y + 1) * width), 3 * ((top + y) * whole.width + left));
  });
  return { ...whole, data };
}

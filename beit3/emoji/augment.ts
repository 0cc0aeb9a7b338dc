/**
 * Random variations of small pictures: turned, stretched, shifted, mirrored, recoloured, faded to grey. One picture is
 * resampled once and recoloured by one matrix, so that a batch takes milliseconds.
 */

/** How far a picture may go; 0 leaves that property as it is. */
export interface Augmentation {
  /** Radians either way. */
  readonly turn: number;
  /** Share of the size either way; the second is the height against the width. */
  readonly zoom: number;
  readonly stretch: number;
  readonly shear: number;
  /** Share of half the side, either way. */
  readonly shift: number;
  /** Probability of a mirror image, for pictures that bear it. */
  readonly mirror: number;
  /** Share of the saturation either way, and the probability of none at all. */
  readonly saturation: number;
  readonly grey: number;
  /** Radians either way. */
  readonly hue: number;
  /** Share either way, about the middle grey. */
  readonly contrast: number;
  /** Of 1 either way. */
  readonly brightness: number;
}

/** What the quickstart trains with. */
export const EMOJI_AUGMENTATION: Augmentation = {
  turn: 0.1,
  zoom: 0.07,
  stretch: 0.03,
  shear: 0.04,
  shift: 0.05,
  mirror: 0.5,
  saturation: 0.18,
  grey: 0.05,
  hue: 0.09,
  contrast: 0.12,
  brightness: 0.06,
};

/** Random numbers that one picture takes. */
export const RANDOMS = 13;

/** RGB bytes [size, size, 3] as the model takes them: float32 [3, size, size] from -1 to 1, into `out` from `at` on. */
export function plainPicture(source: Uint8Array, size: number, out: Float32Array, at: number): void {
  const plane = size * size;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) out[at + c * plane + i] = source[3 * i + c] / 127.5 - 1;
  }
}

/**
 * A variation of RGB bytes [size, size, 3], written like plainPicture does. `random` holds RANDOMS numbers from 0 to
 * below 1, which decide all: equal numbers give equal pictures. What comes in from outside the picture is white.
 */
export function augmentedPicture(
  source: Uint8Array,
  size: number,
  random: Float32Array,
  limits: Augmentation,
  mirrorable: boolean,
  out: Float32Array,
  at: number,
): void {
  const either = (k: number, most: number) => (2 * random[k] - 1) * most;
  const colour = colourMatrix({
    saturation: random[0] < limits.grey ? 0 : 1 + either(1, limits.saturation),
    hue: either(2, limits.hue),
    contrast: 1 + either(3, limits.contrast),
    brightness: either(4, limits.brightness),
  });

  // From a point of the new picture to one of the old, both with the middle at 0 and counted in pixels.
  const angle = either(5, limits.turn);
  const width = 1 + either(6, limits.zoom);
  const height = width * (1 + either(7, limits.stretch));
  const shear = either(8, limits.shear);
  const mirror = mirrorable && random[9] < limits.mirror ? -1 : 1;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [xx, xy] = [mirror * cos * width, (shear - sin) * height];
  const [yx, yy] = [mirror * sin * width, cos * height];
  const middle = (size - 1) / 2;
  const left = middle + either(10, (limits.shift * size) / 2);
  const top = middle + either(11, (limits.shift * size) / 2);

  const plane = size * size;
  const { same, next, last, add } = colour;
  // One loop without calls: a batch has a hundred thousand pixels.
  for (let i = 0; i < plane; i++) {
    const column = (i % size) - middle;
    const row = Math.floor(i / size) - middle;
    const x = xx * column + xy * row + left;
    const y = yx * column + yy * row + top;
    const x0 = Math.floor(x);
    const y0 = Math.floor(y);
    // The shares of the four neighbours, each 0 outside; what they leave is white.
    const fx = x - x0;
    const fy = y - y0;
    const l = x0 >= 0 && x0 < size ? 1 - fx : 0;
    const r = x0 >= -1 && x0 + 1 < size ? fx : 0;
    const u = y0 >= 0 && y0 < size ? 1 - fy : 0;
    const d = y0 >= -1 && y0 + 1 < size ? fy : 0;
    const white = 255 * (1 - (l + r) * (u + d));
    const at0 = 3 * (y0 * size + x0);
    const at1 = at0 + 3 * size;
    let red = white;
    let green = white;
    let blue = white;
    if (l * u > 0) {
      red += l * u * source[at0];
      green += l * u * source[at0 + 1];
      blue += l * u * source[at0 + 2];
    }
    if (r * u > 0) {
      red += r * u * source[at0 + 3];
      green += r * u * source[at0 + 4];
      blue += r * u * source[at0 + 5];
    }
    if (l * d > 0) {
      red += l * d * source[at1];
      green += l * d * source[at1 + 1];
      blue += l * d * source[at1 + 2];
    }
    if (r * d > 0) {
      red += r * d * source[at1 + 3];
      green += r * d * source[at1 + 4];
      blue += r * d * source[at1 + 5];
    }
    out[at + i] = clip(same * red + next * green + last * blue + add);
    out[at + plane + i] = clip(last * red + same * green + next * blue + add);
    out[at + 2 * plane + i] = clip(next * red + last * green + same * blue + add);
  }
}

/** Every channel is `same` times itself, `next` and `last` times the other two in turn, and `add`. */
interface ColourMatrix {
  readonly same: number;
  readonly next: number;
  readonly last: number;
  readonly add: number;
}

/**
 * Saturation, a turn of the hue about the grey axis, contrast and brightness are all linear, and circulant in the
 * three channels: from bytes straight to -1 .. 1.
 */
function colourMatrix(c: { saturation: number; hue: number; contrast: number; brightness: number }): ColourMatrix {
  const cos = Math.cos(c.hue);
  const across = Math.sin(c.hue) / Math.sqrt(3);
  const along = (1 - cos) / 3;
  const grey = (1 - c.saturation) / 3;
  const scale = (2 * c.contrast) / 255;
  return {
    same: scale * (c.saturation * (cos + along) + grey),
    next: scale * (c.saturation * (along - across) + grey),
    last: scale * (c.saturation * (along + across) + grey),
    add: 2 * (0.5 * (1 - c.contrast) + c.brightness) - 1,
  };
}

function clip(value: number): number {
  return Math.max(-1, Math.min(1, value));
}

/** timm's RandAugment (`rand-m9-mstd0.5-inc1`), with which BEiT-3 was fine-tuned on ImageNet; it computes with Pillow. */

import { InputError } from '../../../core/errors.js';
import type { Generator } from '../../../core/random.js';
import type { RgbImage } from '../../images/index.js';
import { type Affine, rotation, shearX, shearY, shiftX, shiftY, transformAffine } from './affine.js';
import { eitherSign, happens, oneOf } from './chance.js';
import { chooseFilter, type Interpolation } from './crop.js';
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
} from './tones.js';
import type { Color } from './warp.js';

/** What a policy such as `rand-m9-mstd0.5-inc1` says. */
export interface AutoAugment {
  /** m: 0 to 10. */
  readonly magnitude: number;
  /** mstd: standard deviation of the magnitude. */
  readonly deviation: number;
  /** n: operations in a row. */
  readonly layers: number;
  /** p: of each operation. */
  readonly probability: number;
  /** inc1: a higher magnitude always changes more. */
  readonly increasing: boolean;
}

/** A share of the strongest (0 to 1) to what the operation takes. */
interface Context {
  readonly random: Generator;
  readonly increasing: boolean;
  readonly interpolation: Interpolation;
  readonly fill: Color;
}

type Operation = (image: RgbImage, share: number, context: Context) => RgbImage;

/** How strongly to enhance: 0.1 to 1.9, where 1 changes nothing. */
const factorOf = (share: number, { increasing, random }: Context): number =>
  increasing ? 1 + eitherSign(random, share * 0.9) : share * 1.8 + 0.1;

const enhanced =
  (change: (image: RgbImage, factor: number) => RgbImage): Operation =>
  (image, share, context) =>
    change(image, factorOf(share, context));

const moved =
  (matrixOf: (amount: number, image: RgbImage) => Affine, most: number): Operation =>
  (image, share, { random, interpolation, fill }) => {
    const matrix = matrixOf(eitherSign(random, share * most), image);
    return transformAffine(image, matrix, chooseFilter(interpolation, random), fill);
  };

const OPERATIONS = {
  AutoContrast: autoContrast,
  Equalize: equalize,
  Invert: invert,
  Rotate: moved((degrees, { width, height }) => rotation(degrees, width, height), 30),
  Posterize: (image, share, { increasing }) => {
    const bits = Math.trunc(share * 4);
    return posterize(image, increasing ? 4 - bits : bits);
  },
  Solarize: (image, share, { increasing }) => {
    const threshold = Math.trunc(share * 256);
    return solarize(image, increasing ? 256 - threshold : threshold);
  },
  SolarizeAdd: (image, share) => solarizeAdd(image, Math.trunc(share * 110)),
  Color: enhanced(color),
  Contrast: enhanced(contrast),
  Brightness: enhanced(brightness),
  Sharpness: enhanced(sharpness),
  ShearX: moved(shearX, 0.3),
  ShearY: moved(shearY, 0.3),
  TranslateX: moved((share, { width }) => shiftX(share * width), 0.45),
  TranslateY: moved((share, { height }) => shiftY(share * height), 0.45),
} satisfies Record<string, Operation>;

const NAMES = Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[];

/** Operations in turn, each drawn from all fifteen; pixels from outside the picture become `fill`. */
export function autoAugment(
  image: RgbImage,
  options: AutoAugment & { readonly interpolation: Interpolation; readonly fill: Color },
  random: Generator,
): RgbImage {
  const { layers, probability, magnitude, deviation } = options;
  let out = image;
  for (let i = 0; i < layers; i++) {
    const operation: Operation = OPERATIONS[oneOf(random, NAMES)];
    if (!happens(random, probability)) continue;
    const level = magnitude + deviation * random.normal(1)[0];
    out = operation(out, Math.max(0, Math.min(10, level)) / 10, { ...options, random });
  }
  return out;
}

/** Reads timm's way to write a policy. Throws InputError for policies and settings other than those of AutoAugment. */
export function parseAutoAugment(policy: string): AutoAugment {
  const [kind, ...settings] = policy.split('-');
  if (kind !== 'rand') {
    throw new InputError(
      `The augmentation policy ${JSON.stringify(policy)} is not known; give one such as rand-m9-mstd0.5-inc1, or none.`,
    );
  }
  const values = new Map<string, number>();
  for (const setting of settings) {
    const [, name = '', digits = ''] = /^([a-z]+)(\d+(?:\.\d+)?)$/.exec(setting) ?? [];
    const value = Number(digits);
    if (!(LIMITS[name]?.(value) ?? false) || values.has(name)) {
      throw new InputError(
        `The augmentation policy ${JSON.stringify(policy)} cannot have ${JSON.stringify(setting)}; it takes each of m (0 to 10), ` +
          'n (1 to 15), p (0 to 1), mstd (0 to 100) and inc (0 or 1) at most once.',
      );
    }
    values.set(name, value);
  }
  return {
    magnitude: values.get('m') ?? 10,
    deviation: values.get('mstd') ?? 0,
    layers: values.get('n') ?? 2,
    probability: values.get('p') ?? 0.5,
    increasing: values.get('inc') === 1,
  };
}

const LIMITS: Record<string, ((value: number) => boolean) | undefined> = {
  m: (value) => Number.isInteger(value) && value <= 10,
  n: (value) => Number.isInteger(value) && value >= 1 && value <= 15,
  p: (value) => value <= 1,
  mstd: (value) => value <= 100,
  inc: (value) => value === 0 || value === 1,
};

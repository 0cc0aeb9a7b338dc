/** What to do to pictures, as plain JSON: made by the functions here, given to worker threads, read by `buildTransform`. */

import { InputError } from '../../../core/errors.js';
import type { ImagePipeline } from '../../images/index.js';
import { type AutoAugment, parseAutoAugment } from './autoAugment.js';
import type { Interpolation, Range } from './crop.js';
import type { EraseOptions } from './erase.js';
import type { Color } from './warp.js';

/** One change of a picture. */
export type TransformStep =
  /** The evaluation pipelines: see `fitImage`. */
  | { readonly name: 'fit'; readonly pipeline: ImagePipeline; readonly cropRatio: number }
  | {
      readonly name: 'randomResizedCrop';
      readonly scale: Range;
      readonly ratio: Range;
      readonly interpolation: Interpolation;
    }
  | { readonly name: 'randomPaddedCrop'; readonly padding: number }
  | { readonly name: 'randomMirror'; readonly probability: number }
  | { readonly name: 'randAugment'; readonly layers: number; readonly magnitude: number }
  | ({ readonly name: 'autoAugment'; readonly interpolation: Interpolation; readonly fill: Color } & AutoAugment)
  | { readonly name: 'colorJitter'; readonly strength: number };

/** Steps in their order, then normalising, then erasing. */
export interface TransformSpec {
  /** Side of the square that comes out. */
  readonly size: number;
  /** Whose mean and deviation normalise. */
  readonly pipeline: ImagePipeline;
  readonly steps: readonly TransformStep[];
  readonly erase: EraseOptions | null;
}

const RATIO: Range = [3 / 4, 4 / 3];
/** What is put beside turned pictures: the mean. */
const FILL: Record<ImagePipeline, Color> = { imagenet: [124, 116, 104], vl: [128, 128, 128] };
/** Up to this size, pictures for classification are taken as they are instead of resized. */
const LARGEST_NOT_RESIZED = 32;

/** The official training transform of every task but image classification. */
export function visionLanguageTraining(options: {
  readonly size: number;
  readonly randAugment?: boolean;
  readonly interpolation?: Interpolation;
}): TransformSpec {
  const { size, randAugment = false, interpolation = 'bicubic' } = options;
  const steps: TransformStep[] = [
    { name: 'randomResizedCrop', scale: [0.5, 1], ratio: RATIO, interpolation },
    { name: 'randomMirror', probability: 0.5 },
  ];
  if (randAugment) steps.push({ name: 'randAugment', layers: 2, magnitude: 7 });
  return { size, pipeline: 'vl', steps, erase: null };
}

/**
 * The official training transform of image classification, that of timm. `autoAugment` is a policy such as the default
 * rand-m9-mstd0.5-inc1; without one (null, '' or none) `colorJitter` counts instead. Throws InputError for a policy that
 * is not known.
 */
export function imageNetTraining(options: {
  readonly size: number;
  readonly autoAugment?: string | null;
  readonly colorJitter?: number;
  readonly erase?: EraseOptions;
  readonly interpolation?: Interpolation;
  /** Whose mean and deviation normalise; default: those of ImageNet. */
  readonly statistics?: ImagePipeline;
}): TransformSpec {
  const {
    size,
    autoAugment = 'rand-m9-mstd0.5-inc1',
    colorJitter = 0.4,
    erase = { probability: 0.25, mode: 'pixel', count: 1 },
    interpolation = 'bicubic',
    statistics = 'imagenet',
  } = options;
  const steps: TransformStep[] = [
    size > LARGEST_NOT_RESIZED
      ? { name: 'randomResizedCrop', scale: [0.08, 1], ratio: RATIO, interpolation }
      : { name: 'randomPaddedCrop', padding: 4 },
    { name: 'randomMirror', probability: 0.5 },
  ];
  if (autoAugment !== null && autoAugment !== '' && autoAugment !== 'none') {
    steps.push({ name: 'autoAugment', ...parseAutoAugment(autoAugment), interpolation, fill: FILL[statistics] });
  } else if (colorJitter > 0) {
    steps.push({ name: 'colorJitter', strength: colorJitter });
  }
  return { size, pipeline: statistics, steps, erase: erase.probability > 0 ? erase : null };
}

/** The official evaluation transforms; `cropRatio` counts for `imagenet` alone. */
export function evaluation(
  pipeline: ImagePipeline,
  size: number,
  cropRatio = 1,
  statistics: ImagePipeline = pipeline,
): TransformSpec {
  const ratio = size > LARGEST_NOT_RESIZED ? cropRatio : 1;
  return { size, pipeline: statistics, steps: [{ name: 'fit', pipeline, cropRatio: ratio }], erase: null };
}

type Check = (value: unknown) => boolean;

const isNumber =
  (low: number, high: number): Check =>
  (value) =>
    typeof value === 'number' && value >= low && value <= high;
const isWhole =
  (low: number, high: number): Check =>
  (value) =>
    Number.isInteger(value) && isNumber(low, high)(value);
const isOneOf =
  (...choices: readonly string[]): Check =>
  (value) =>
    choices.some((choice) => choice === value);
const isRange: Check = (value) =>
  Array.isArray(value) && value.length === 2 && value.every(isNumber(1e-6, 1e6)) && value[0] <= value[1];
const isShare: Check = (value) => isRange(value) && Array.isArray(value) && value[1] <= 1;
const isColor: Check = (value) => Array.isArray(value) && value.length === 3 && value.every(isWhole(0, 255));
const isBoolean: Check = (value) => typeof value === 'boolean';

const isPipeline = isOneOf('vl', 'imagenet');
const isInterpolation = isOneOf('bicubic', 'bilinear', 'random');
const isProbability = isNumber(0, 1);

/** Step -> its fields and what they may be. */
const STEPS: Record<TransformStep['name'], Record<string, Check>> = {
  fit: { pipeline: isPipeline, cropRatio: isNumber(0.01, 1) },
  randomResizedCrop: { scale: isShare, ratio: isRange, interpolation: isInterpolation },
  randomPaddedCrop: { padding: isWhole(0, 1000) },
  randomMirror: { probability: isProbability },
  randAugment: { layers: isWhole(0, 100), magnitude: isNumber(0, 10) },
  autoAugment: {
    magnitude: isNumber(0, 10),
    deviation: isNumber(0, 100),
    layers: isWhole(0, 100),
    probability: isProbability,
    increasing: isBoolean,
    interpolation: isInterpolation,
    fill: isColor,
  },
  colorJitter: { strength: isNumber(0, 100) },
};

const ERASE: Record<string, Check> = {
  probability: isProbability,
  mode: isOneOf('pixel', 'rand', 'const'),
  count: isWhole(1, 1000),
};

/** Throws InputError, naming what is wrong, for anything that is no TransformSpec. */
export function checkSpec(spec: TransformSpec): void {
  checkFields('transform', spec, {
    size: isWhole(1, 65_535),
    pipeline: isPipeline,
    steps: Array.isArray,
    erase: (value) => value === null || typeof value === 'object',
  });
  for (const step of spec.steps) {
    const name: unknown = step?.name;
    const fields = isOneOf(...Object.keys(STEPS))(name) ? STEPS[step.name] : undefined;
    if (fields === undefined) {
      const known = Object.keys(STEPS).join(', ');
      throw new InputError(`There is no transform ${JSON.stringify(name)}; there are ${known}.`);
    }
    checkFields(`transform ${step.name}`, step, { name: isOneOf(step.name), ...fields });
  }
  if (spec.erase !== null) checkFields('random erasing', spec.erase, ERASE);
}

function checkFields(what: string, value: unknown, fields: Record<string, Check>): void {
  if (typeof value !== 'object' || value === null) {
    throw new InputError(`The ${what} is ${JSON.stringify(value)}; it must be an object.`);
  }
  const given = new Map<string, unknown>(Object.entries(value));
  for (const [field, isRight] of Object.entries(fields)) {
    if (!isRight(given.get(field))) {
      throw new InputError(`The ${what} cannot have ${JSON.stringify(given.get(field))} for ${field}.`);
    }
  }
  const unknown = [...given.keys()].find((field) => !Object.hasOwn(fields, field));
  if (unknown !== undefined) throw new InputError(`The ${what} has no setting ${JSON.stringify(unknown)}.`);
}

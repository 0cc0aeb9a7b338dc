/**
 * Mixup (Zhang et al. 2017, "mixup: beyond empirical risk minimization") and CutMix (Yun et al. 2019) as timm does them:
 * picture i of a batch of B mixes with picture B - 1 - i.
 */

import { InputError } from '../../../core/errors.js';
import type { Generator } from '../../../core/random.js';
import type { ClassificationBatch } from '../batch.js';
import { randomBeta } from './beta.js';
import { between, happens, wholeBetween } from './chance.js';

export interface MixOptions {
  /** How many classes there are. */
  readonly classes: number;
  /** Alpha of the Beta distribution that says how much to blend; 0 (the default) = no mixup. */
  readonly mixup?: number;
  /** Alpha of the Beta distribution that says how much to paste; 0 (the default) = no CutMix. */
  readonly cutmix?: number;
  /** Instead of `cutmix`: the pasted part has between these shares of each side, such as [0.2, 0.8]. */
  readonly cutmixRange?: readonly [number, number] | null;
  /** Of mixing at all. Default 1. */
  readonly probability?: number;
  /** Of CutMix rather than mixup, where both are on. Default 0.5. */
  readonly switchProbability?: number;
  /** One mix for the whole batch (default), for both pictures of a pair, or for each picture. */
  readonly mode?: MixMode;
  /** Label smoothing: the share of each target that goes to all classes alike. Default 0.1. */
  readonly smoothing?: number;
}

export type MixMode = 'batch' | 'pair' | 'elem';

/** Rows and columns from .. to - 1. */
interface Box {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

/** How much stays of a picture, 0 to 1; the rest comes from its partner, as the box where there is one. */
interface Mix {
  readonly kept: number;
  readonly box: Box | null;
}

/**
 * The batch with its pictures mixed and with soft `targets`, float32 [B, classes]; `batch` itself stays as it was.
 *
 * Throws InputError for options out of range, a batch of an odd size and labels that are no class.
 */
export function mixBatch(batch: ClassificationBatch, options: MixOptions, random: Generator): ClassificationBatch {
  const settings = checkOptions(options);
  const { size, side, labels } = batch;
  if (size % 2 !== 0) {
    throw new InputError(`Mixup and CutMix need an even batch size, not ${size}; choose another batch size.`);
  }
  const strange = labels.find((label) => label < 0 || label >= settings.classes);
  if (strange !== undefined) {
    throw new InputError(`A picture has the label ${strange}, but there are ${settings.classes} classes from 0.`);
  }
  const mixes = drawMixes(size, side, settings, random);
  const images = batch.images.slice();
  const length = 3 * side * side;
  mixes.forEach((mix, i) => {
    const from = (size - 1 - i) * length;
    mixPicture(images.subarray(i * length, (i + 1) * length), batch.images.subarray(from, from + length), side, mix);
  });
  return { ...batch, images, targets: softTargets(labels, mixes, settings) };
}

type Settings = Required<MixOptions>;

function checkOptions(options: MixOptions): Settings {
  const { classes, mixup = 0, cutmix = 0, cutmixRange = null, mode = 'batch' } = options;
  const { probability = 1, switchProbability = 0.5, smoothing = 0.1 } = options;
  const require = (isRight: boolean, name: string, value: unknown, wanted: string): void => {
    if (!isRight) throw new InputError(`The ${name} must be ${wanted}, not ${JSON.stringify(value)}.`);
  };
  require(Number.isInteger(classes) && classes > 0, 'number of classes', classes, 'a whole number above 0');
  require(mixup >= 0 && mixup <= 1e6, 'mixup alpha', mixup, 'at least 0');
  require(cutmix >= 0 && cutmix <= 1e6, 'CutMix alpha', cutmix, 'at least 0');
  const shares = [probability, switchProbability, smoothing];
  ['mixup probability', 'mixup switch probability', 'label smoothing'].forEach((name, i) => {
    require(shares[i] >= 0 && shares[i] <= 1, name, shares[i], 'from 0 to 1');
  });
  require(['batch', 'pair', 'elem'].includes(mode), 'mixup mode', mode, 'batch, pair or elem');
  if (cutmixRange !== null) {
    const [low, high] = cutmixRange;
    require(cutmixRange.length === 2 &&
      low >= 0 &&
      low < high &&
      high <= 1, 'CutMix range', cutmixRange, 'two shares of a side, the lower first, from 0 to 1');
  }
  if (mixup === 0 && cutmix === 0 && cutmixRange === null) {
    throw new InputError('To mix pictures, give an alpha above 0 for mixup or CutMix, or a CutMix range.');
  }
  return { classes, mixup, cutmix, cutmixRange, mode, probability, switchProbability, smoothing };
}

/** One mix for each picture. */
function drawMixes(size: number, side: number, settings: Settings, random: Generator): Mix[] {
  const draw = (): Mix => drawMix(side, settings, random);
  if (settings.mode === 'elem') return Array.from({ length: size }, draw);
  if (settings.mode === 'pair') {
    const half = Array.from({ length: size / 2 }, draw);
    return [...half, ...half.toReversed()];
  }
  const shared = draw();
  return Array.from({ length: size }, () => shared);
}

function drawMix(side: number, settings: Settings, random: Generator): Mix {
  const { mixup, cutmixRange, probability, switchProbability } = settings;
  const cutmix = cutmixRange === null ? settings.cutmix : 1;
  if (!happens(random, probability)) return { kept: 1, box: null };
  const cuts = cutmix > 0 && (mixup === 0 || happens(random, switchProbability));
  const alpha = cuts ? cutmix : mixup;
  const kept = randomBeta(random, alpha, alpha);
  if (!cuts) return { kept, box: null };
  const box = cutmixRange === null ? squareBox(side, kept, random) : boxWithin(side, cutmixRange, random);
  // The box may have been cut off at the edge, or not heeded the share at all.
  return { kept: 1 - ((box.bottom - box.top) * (box.right - box.left)) / (side * side), box };
}

/** A square of the share 1 - kept around a random point; what lies outside the picture is cut off. */
function squareBox(side: number, kept: number, random: Generator): Box {
  const half = Math.floor(Math.trunc(side * Math.sqrt(1 - kept)) / 2);
  const y = wholeBetween(random, 0, side - 1);
  const x = wholeBetween(random, 0, side - 1);
  return {
    top: Math.max(0, y - half),
    bottom: Math.min(side, y + half),
    left: Math.max(0, x - half),
    right: Math.min(side, x + half),
  };
}

/** Height and width are independent; the box lies inside. */
function boxWithin(side: number, [low, high]: readonly [number, number], random: Generator): Box {
  const least = Math.trunc(side * low);
  const most = Math.max(least, Math.trunc(side * high) - 1);
  const [height, width] = [wholeBetween(random, least, most), wholeBetween(random, least, most)];
  const top = Math.floor(between(random, 0, side - height));
  const left = Math.floor(between(random, 0, side - width));
  return { top, bottom: top + height, left, right: left + width };
}

/** Mixes `partner` into `picture`, both [3, side, side]. */
function mixPicture(picture: Float32Array, partner: Float32Array, side: number, { kept, box }: Mix): void {
  if (box === null) {
    if (kept === 1) return;
    for (let i = 0; i < picture.length; i++) picture[i] = picture[i] * kept + partner[i] * (1 - kept);
    return;
  }
  for (let channel = 0; channel < 3; channel++) {
    for (let y = box.top; y < box.bottom; y++) {
      const row = (channel * side + y) * side;
      picture.set(partner.subarray(row + box.left, row + box.right), row + box.left);
    }
  }
}

/** Each picture's own class and its partner's, by their shares; float32 [B, classes]. */
function softTargets(labels: Int32Array, mixes: readonly Mix[], { classes, smoothing }: Settings): Float32Array {
  const targets = new Float32Array(labels.length * classes).fill(smoothing / classes);
  mixes.forEach(({ kept }, i) => {
    targets[i * classes + labels[i]] += (1 - smoothing) * kept;
    targets[i * classes + labels[labels.length - 1 - i]] += (1 - smoothing) * (1 - kept);
  });
  return targets;
}

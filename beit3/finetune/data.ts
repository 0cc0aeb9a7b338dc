/** What a run trains on and is validated with. Node only. */
import { InputError } from '../../core/errors.js';
import type { Task } from '../config.js';
import type { ClassificationBatch, TaskBatches } from '../data/batch.js';
import {
  DataLoader,
  type DataSet,
  type DataSetOptions,
  type IndexedDataSet,
  openDataSet,
} from '../data/loader/index.js';
import { generatorOf } from '../data/loader/random.js';
import type { IndexTask } from '../data/rows.js';
import {
  evaluation,
  imageNetTraining,
  type MixMode,
  mixBatch,
  type TransformSpec,
  visionLanguageTraining,
} from '../data/transforms/index.js';
import { captionReferences, evaluatedSamples } from '../evaluate/dataSet.js';
import type { Settings } from './settings.js';
import type { Subject } from './subject.js';

type Seen = Pick<Subject, 'imageSize' | 'preprocessing'>;

/** The transform of the pictures that are trained on. */
export function trainingTransform(
  task: Task,
  { imageSize: size, preprocessing }: Seen,
  settings: Settings,
): TransformSpec {
  const interpolation = settings.trainInterpolation as 'bicubic' | 'bilinear' | 'random';
  if (task !== 'imageclassification')
    return visionLanguageTraining({ size, randAugment: settings.randaug, interpolation });
  const { aa, colorJitter, reprob, remode, recount } = settings;
  return imageNetTraining({
    size,
    autoAugment: aa,
    colorJitter,
    erase: { probability: reprob, mode: remode as 'pixel' | 'rand' | 'const', count: recount },
    interpolation,
    statistics: preprocessing.statistics,
  });
}

/** What a run is validated with. */
export interface Validation {
  readonly samples: DataSet;
  /** Words of each answer of vqav2. */
  readonly answers: readonly string[] | undefined;
  /** What captions are compared with, by picture. */
  readonly references: ReadonlyMap<number, readonly string[]> | undefined;
}

export interface RunData {
  readonly train: IndexedDataSet;
  /** Null without validation. */
  readonly validation: Validation | null;
  /** Optimiser steps in an epoch. */
  readonly stepsPerEpoch: number;
}

/** Opens what a run reads. Throws InputError, one sentence, for what is missing, broken or too small. */
export async function openRunData(
  task: IndexTask,
  options: DataSetOptions,
  settings: Settings,
  { validates, note }: { readonly validates: boolean; readonly note: (text: string) => void },
): Promise<RunData> {
  const classes = settings.nbClasses ?? undefined;
  const train = await openDataSet(task, 'train', { ...options, classes });
  const perStep = settings.batchSize * settings.updateFreq * settings.worldSize;
  const stepsPerEpoch = Math.floor(train.size / perStep);
  if (stepsPerEpoch === 0) {
    throw new InputError(
      `${options.data} has ${train.size} samples to train on, fewer than the ${perStep} of a step; use a smaller --batch-size or --update-freq.`,
    );
  }
  if (train.cutTexts > 0) {
    note(
      `${train.cutTexts} texts to train on have more than ${options.maxTokens} tokens (--num-max-bpe-tokens) and were cut.`,
    );
  }
  if (!validates) return { train, validation: null, stepsPerEpoch };
  // Validation may lack classes, but has none of its own.
  const own = task === 'imagenet' ? train.classes : undefined;
  const validation = await openDataSet(task, 'val', { ...options, classes: own }).catch((error: unknown) => {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`${error.message.replace(/\.$/, '')}; or leave validation out with --no-eval.`);
  });
  const samples = evaluatedSamples<Task>(validation);
  const { tokenizer } = options;
  if (validation.task !== 'captioning' || !tokenizer) {
    const answers = validation.task === 'vqav2' ? validation.labels : undefined;
    return { train, validation: { samples, answers, references: undefined }, stepsPerEpoch };
  }
  const found = await captionReferences(validation, samples, { folders: [options.data], tokenizer });
  if (found === null) {
    note(
      `No validation: ${options.data} has no captions of the val split (coco_karpathy_val_gt.json, dataset_coco.json).`,
    );
    return { train, validation: null, stepsPerEpoch };
  }
  return { train, validation: { samples, answers: undefined, references: found.references }, stepsPerEpoch };
}

export function trainingLoader(
  { train }: RunData,
  subject: Seen,
  settings: Settings,
  onSkip: (where: string, reason: string) => void,
): DataLoader<Task> {
  const { batchSize, seed, rank, worldSize, skipBroken, captioningMaskProb } = settings;
  return new DataLoader<Task>(train, {
    training: true,
    batchSize,
    seed,
    rank,
    worldSize,
    skipBroken,
    workers: settings.workers ?? undefined,
    maskProbability: captioningMaskProb,
    transform: trainingTransform(train.task, subject, settings),
    onSkip: (skipped) => onSkip(skipped.where, skipped.reason),
  });
}

export function validationLoader(
  samples: DataSet,
  { imageSize, preprocessing }: Seen,
  settings: Settings,
): DataLoader<Task> {
  const { pipeline, statistics, cropRatio = 1 } = preprocessing;
  return new DataLoader<Task>(samples, {
    training: false,
    batchSize: settings.evalBatchSize ?? Math.max(1, Math.floor(1.5 * settings.batchSize)),
    workers: settings.workers ?? undefined,
    skipBroken: settings.skipBroken,
    transform: evaluation(pipeline, imageSize, settings.cropPct ?? cropRatio, statistics),
  });
}

/** Mixes the pictures of a batch, by its number in the epoch, where the settings say so. */
export function mixerOf(task: Task, classes: number, settings: Settings) {
  const { mixup, cutmix, cutmixMinmax, seed, rank, worldSize } = settings;
  const isOn = task === 'imageclassification' && (mixup > 0 || cutmix > 0 || cutmixMinmax !== null);
  if (isOn && settings.batchSize % 2 !== 0)
    throw new InputError(`Mixup and cutmix mix pairs: --batch-size must be even, got ${settings.batchSize}.`);
  const options = {
    classes,
    mixup,
    cutmix,
    cutmixRange: cutmixMinmax,
    probability: settings.mixupProb,
    switchProbability: settings.mixupSwitchProb,
    mode: settings.mixupMode as MixMode,
    smoothing: settings.labelSmoothing,
  };
  return (batch: TaskBatches[Task], epoch: number, number: number): TaskBatches[Task] =>
    isOn
      ? mixBatch(batch as ClassificationBatch, options, generatorOf(seed, 'mix', epoch, number * worldSize + rank))
      : batch;
}

/** Evaluation on a data set of index files, with the references and annotations that belong to it. Node only. */
import { InputError } from '../../core/errors.js';
import type { Module } from '../../nn/module.js';
import type { PictureSizes } from '../classifier.js';
import { patchCount, type Task } from '../config.js';
import type { TaskSamples } from '../data/dataSet.js';
import { DataLoader, type DataSet, type IndexedDataSet, type SkippedSample, subset } from '../data/loader/index.js';
import { evaluation, imageNetTraining, type TransformSpec, visionLanguageTraining } from '../data/transforms/index.js';
import type { TaskModels } from '../heads/index.js';
import type { ImagePipeline } from '../images/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { type EvaluateOptions, type EvaluationReport, evaluate } from './index.js';
import { readCaptionReferences } from './references.js';

/** How pictures come to the model where the training loader of the reference is imitated. */
export interface TrainingLoading {
  /** From which crops and order are drawn. */
  readonly seed: number;
  /** Whether RandAugment is on, as in the recipes of vqav2 and nlvr2. */
  readonly randAugment: boolean;
}

export interface EvaluateDataOptions extends EvaluateOptions {
  /** Samples in a batch; defaultBatchSize without it. It changes nothing but speed and memory. */
  readonly batchSize?: number;
  /** Threads that load pictures; 0 = this one. */
  readonly workers?: number;
  /** Passes over pictures that cannot be read. */
  readonly skipBroken?: boolean;
  readonly onSkip?: (skipped: SkippedSample) => void;
  /** Image classification: the short side becomes size / cropRatio before the crop; default 1. */
  readonly cropRatio?: number;
  /** Image classification: whose mean and deviation normalise, where they are not ImageNet's. */
  readonly statistics?: ImagePipeline;
  /** Loads as for training: random order and crops, and no last batch that is not full. */
  readonly asTraining?: TrainingLoading;
}

export interface DataReport extends EvaluationReport {
  /** Samples that were passed over. */
  readonly skipped: number;
}

const MOST_SAMPLES = 16;
/** Positions in a batch: more make nothing faster on processors, and captions keep the keys and values of all. */
const POSITIONS = 4096;

type Sides = Pick<PictureSizes, 'img_size' | 'patch_size'>;

/** Samples in a batch of which models of all sizes have room in memory: 16 at 224 pixels, 4 at 480, 1 at 768. */
export function defaultBatchSize(config: Sides): number {
  return Math.min(MOST_SAMPLES, Math.max(1, Math.floor(POSITIONS / (patchCount(config) + 1))));
}

/** The samples that are evaluated: the first `limit`, and of captioning each picture once, however many captions it has. */
export function evaluatedSamples<T extends Task>(data: DataSet<T>, limit = data.size): DataSet<T> {
  let rows = Array.from({ length: data.size }, (_, row) => row);
  if (data.task === 'captioning') {
    const seen = new Set<number>();
    rows = rows.filter((row) => {
      const { imageId } = data.sample(row) as TaskSamples['captioning'];
      if (seen.has(imageId)) return false;
      seen.add(imageId);
      return true;
    });
  }
  return rows.length === data.size && limit >= data.size ? data : subset(data, rows.slice(0, limit));
}

/** Evaluates a model of these sizes on the samples of a data set. The loader is closed in the end, whatever happens. */
export async function evaluateDataSet<T extends Task>(
  data: DataSet<T>,
  model: TaskModels[T] & Module,
  config: Sides,
  options: EvaluateDataOptions = {},
): Promise<DataReport> {
  const { batchSize = defaultBatchSize(config), workers, skipBroken, onSkip, asTraining } = options;
  const loader = new DataLoader<T>(data, {
    training: asTraining !== undefined,
    seed: asTraining?.seed ?? 0,
    batchSize,
    workers,
    skipBroken,
    onSkip,
    cacheMegabytes: 0,
    transform: transformOf(data.task, config.img_size, options),
  });
  try {
    return { ...(await evaluate(data.task, model, loader.epoch(0), options)), skipped: loader.skippedCount };
  } finally {
    await loader.close();
  }
}

function transformOf(
  task: Task,
  size: number,
  { asTraining, cropRatio, statistics }: EvaluateDataOptions,
): TransformSpec {
  const isImageNet = task === 'imageclassification';
  if (!asTraining) return evaluation(isImageNet ? 'imagenet' : 'vl', size, cropRatio, statistics);
  return isImageNet
    ? imageNetTraining({ size, statistics })
    : visionLanguageTraining({ size, randAugment: asTraining.randAugment });
}

export interface ReferenceOptions {
  /** Where captions are looked for: the folders of the data set. */
  readonly folders: readonly string[];
  /** The file of captions, where it is known. */
  readonly annotations?: string;
  /** Turns the captions in an index back into words. */
  readonly tokenizer: Tokenizer;
  readonly onProgress?: (file: string, done: number, total: number) => void;
}

/** The captions with which those of a data set are compared, and where they are from. */
export interface CaptionReferences {
  readonly references: ReadonlyMap<number, readonly string[]>;
  readonly source: string;
}

/**
 * The captions that belong to the pictures of a captioning data set: from the file that was given, from its index where
 * that has captions, or from a file that lies with it (coco_karpathy_SPLIT_gt.json, dataset_coco.json or
 * nocaps_val_4500_captions.json); null where there are none, as for a test split. `samples` are those that are evaluated.
 * Throws InputError where a picture has no caption.
 */
export async function captionReferences(
  data: IndexedDataSet,
  samples: DataSet,
  { folders, annotations, tokenizer, onProgress }: ReferenceOptions,
): Promise<CaptionReferences | null> {
  const wanted = new Set(rowsOf(samples).map(({ imageId }) => imageId));
  const read = async (source: string): Promise<CaptionReferences> => {
    const references = await readCaptionReferences(source, wanted, (done, total) => onProgress?.(source, done, total));
    return { references, source };
  };
  if (annotations !== undefined) return read(annotations);
  const inIndex = captionsInIndex(data, wanted, tokenizer);
  if (inIndex) return { references: inIndex, source: 'the index' };
  const { existsSync } = await import('node:fs');
  const { join } = await import('node:path');
  const names =
    data.name === 'nocaps'
      ? data.split === 'val'
        ? ['nocaps_val_4500_captions.json', 'nocaps_val_gt.json']
        : []
      : [`coco_karpathy_${data.split}_gt.json`, 'dataset_coco.json'];
  const file = names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
  return file === undefined ? null : read(file);
}

function rowsOf(data: DataSet): TaskSamples['captioning'][] {
  if (data.task !== 'captioning') throw new InputError(`Data for ${data.task} have no captions; expected captioning.`);
  return Array.from({ length: data.size }, (_, row) => data.sample(row) as TaskSamples['captioning']);
}

/** The captions in an index by picture; null unless each wanted picture has one. */
function captionsInIndex(
  data: DataSet,
  wanted: ReadonlySet<number>,
  tokenizer: Tokenizer,
): Map<number, string[]> | null {
  const found = new Map<number, string[]>();
  for (const { imageId, tokens } of rowsOf(data)) {
    if (tokens === null || !wanted.has(imageId)) continue;
    const caption = tokenizer.decode(Array.from(tokens));
    const own = found.get(imageId);
    if (own) own.push(caption);
    else found.set(imageId, [caption]);
  }
  return found.size === wanted.size ? found : null;
}

/** Classifiers from checkpoint files, of BEiT-3 or of another family: which one is told from the tensors. */
import { type Checkpoint, openCheckpoint, type SourceLike } from '../checkpoints/index.js';
import { type LoadOptions, loadModel, specOf } from './checkpoint.js';
import type { Beit3Config, ModelSpec } from './config.js';
import { holdsBeit } from './family.js';
import type { ImageClassifier } from './heads/index.js';
import type { Preprocessing } from './images/index.js';

export type { ImageClassifier };

/** Sizes of pictures that every family has under these names. */
export type PictureSizes = Pick<Beit3Config, 'img_size' | 'patch_size' | 'in_chans' | 'image_background'>;

/** What is to be known of a classifier before its weights are loaded. */
export interface ClassifierSpec {
  readonly classes: number;
  readonly sizes: PictureSizes;
  readonly preprocessing: Preprocessing;
}

export interface LoadedClassifier extends ClassifierSpec {
  readonly model: ImageClassifier;
}

/** The spec of an open checkpoint. Throws InputError where it holds no classifier. */
export async function classifierSpecOf(
  checkpoint: Checkpoint,
  source: SourceLike,
  options: LoadOptions = {},
): Promise<ClassifierSpec> {
  if (holdsBeit(checkpoint)) return (await loadFamily()).beitClassifierSpec(checkpoint, source, options);
  const spec = await specOf(checkpoint, source, { ...options, task: 'imageclassification' });
  return classifierOf(spec);
}

/** Loads a classifier in evaluation mode. Throws InputError for any other file. */
export async function loadClassifier(source: SourceLike, options: LoadOptions = {}): Promise<LoadedClassifier> {
  const checkpoint = await openCheckpoint(source);
  const isBeit = holdsBeit(checkpoint);
  await checkpoint.close();
  if (isBeit) return (await loadFamily()).loadBeitClassifier(source, options);
  const { model, spec } = await loadModel(source, { ...options, task: 'imageclassification' });
  return { model, ...classifierOf(spec) };
}

function classifierOf({ config, numClasses }: ModelSpec): ClassifierSpec {
  return { classes: numClasses, sizes: config, preprocessing: { pipeline: 'imagenet' } };
}

/** Loaded when a checkpoint asks for it: a page that shows BEiT-3 does without. */
function loadFamily() {
  return import('./vit/classifier.js');
}

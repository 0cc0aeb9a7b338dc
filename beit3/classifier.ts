/** Classifiers from checkpoint files, of BEiT-3 or of another family: which one is told from the tensors. */
import { type Checkpoint, openCheckpoint, type SourceLike } from '../checkpoints/index.js';
import { type LoadOptions, loadModel, specOf } from './checkpoint.js';
import type { Beit3Config } from './config.js';
import type { ImageClassifier } from './heads/index.js';
import type { Preprocessing } from './images/index.js';

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

const BEIT3_PREPROCESSING: Preprocessing = { pipeline: 'imagenet' };

/** Whether a checkpoint holds the plain vision transformer of BEiT or BEiT v2. */
export function holdsBeit({ tensors }: Checkpoint): boolean {
  return tensors.has('blocks.0.attn.qkv.weight') && tensors.has('cls_token');
}

/** The spec of an open checkpoint. Throws InputError where it holds no classifier. */
export async function classifierSpecOf(
  checkpoint: Checkpoint,
  source: SourceLike,
  options: LoadOptions = {},
): Promise<ClassifierSpec> {
  if (holdsBeit(checkpoint)) {
    const [{ beitSpecOf, expectClasses }, { beitPreprocessing }] = await beitFiles();
    const spec = await beitSpecOf(checkpoint, source, options);
    const classes = expectClasses(spec, typeof source === 'string' ? source : 'The checkpoint');
    return { classes, sizes: spec.config, preprocessing: beitPreprocessing(spec) };
  }
  const { config, numClasses } = await specOf(checkpoint, source, { ...options, task: 'imageclassification' });
  return { classes: numClasses, sizes: config, preprocessing: BEIT3_PREPROCESSING };
}

/** Loads a classifier in evaluation mode. Throws InputError for any other file. */
export async function loadClassifier(source: SourceLike, options: LoadOptions = {}): Promise<LoadedClassifier> {
  const checkpoint = await openCheckpoint(source);
  let spec: ClassifierSpec;
  let isBeit: boolean;
  try {
    isBeit = holdsBeit(checkpoint);
    spec = await classifierSpecOf(checkpoint, source, options);
  } finally {
    await checkpoint.close();
  }
  if (!isBeit) return { ...spec, model: (await loadModel(source, { ...options, task: 'imageclassification' })).model };
  const [{ loadBeit }] = await beitFiles();
  return { ...spec, model: (await loadBeit(source, options)).model };
}

/** Loaded when a checkpoint asks for them: a page that shows BEiT-3 needs none. */
function beitFiles() {
  return Promise.all([import('./vit/checkpoint.js'), import('./vit/spec.js')]);
}

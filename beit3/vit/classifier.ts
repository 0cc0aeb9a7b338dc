/** BEiT and BEiT v2 as classifiers: the part of them that is loaded when a checkpoint asks for it. */
import type { Checkpoint, SourceLike } from '../../checkpoints/index.js';
import type { LoadOptions } from '../checkpoint.js';
import type { ClassifierSpec, LoadedClassifier } from '../classifier.js';
import { beitSpecOf, expectClasses, loadBeit } from './checkpoint.js';
import { type BeitSpec, beitPreprocessing } from './spec.js';

function classifierOf(spec: BeitSpec): ClassifierSpec {
  return { classes: spec.classes, sizes: spec.config, preprocessing: beitPreprocessing(spec) };
}

/** The spec of an open checkpoint. Throws InputError where it holds no classifier. */
export async function beitClassifierSpec(
  checkpoint: Checkpoint,
  source: SourceLike,
  options: LoadOptions,
): Promise<ClassifierSpec> {
  const spec = await beitSpecOf(checkpoint, source, options);
  expectClasses(spec, typeof source === 'string' ? source : 'The checkpoint');
  return classifierOf(spec);
}

export async function loadBeitClassifier(source: SourceLike, options: LoadOptions): Promise<LoadedClassifier> {
  const { model, spec } = await loadBeit(source, options);
  return { model, ...classifierOf(spec) };
}

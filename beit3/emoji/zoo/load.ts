/** The shipped model in memory, for all tasks at once. */

import { openCheckpoint, type SourceLike } from '../../../checkpoints/index.js';
import type { Backend } from '../../../core/backend.js';
import { configOf, makeFilled } from '../../checkpoint.js';
import { inferSpec } from '../../infer.js';
import { JointModel, type JointSpec } from './model.js';

/** Loads a file of `saveJointModel`. Throws InputError for another one. */
export async function loadJointModel(
  source: SourceLike,
  backend: Backend,
): Promise<{ readonly model: JointModel; readonly spec: JointSpec }> {
  const checkpoint = await openCheckpoint(source);
  try {
    const name = typeof source === 'string' ? source : 'The checkpoint';
    const config = await configOf(checkpoint, source);
    const of = (task: 'imageclassification' | 'vqav2') => inferSpec(checkpoint.tensors, name, { ...config, task });
    const classification = of('imageclassification');
    const spec = {
      config: classification.config,
      classes: classification.numClasses,
      answers: of('vqav2').numClasses,
    };
    const { model } = await makeFilled((b) => new JointModel(b, spec), checkpoint.tensors, name, { backend });
    return { model: model.eval(), spec };
  } finally {
    await checkpoint.close();
  }
}

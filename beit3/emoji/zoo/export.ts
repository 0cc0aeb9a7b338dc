/** The trained model as it is shipped: half the size, and what goes with it. */

import { type WritableTensor, writeSafetensors } from '../../../checkpoints/index.js';
import { fromHalf, toHalf } from '../../../core/dtype.js';
import { writeValues } from '../../../nn/builder.js';
import { writableTensors } from '../../checkpoint.js';
import type { JointModel, JointSpec } from './model.js';

/**
 * What the file says of itself: no task and no number of classes, since it serves all tasks. The head width is not what
 * tensors tell, and pictures were drawn on white.
 */
function configOf({ config }: JointSpec): string {
  return JSON.stringify({ ...config, image_background: 'white', multiway: true, subln: true });
}

/** Rounds all weights to 16 bits, as the file holds them: what is measured is then what is shipped. */
export async function roundToHalf(model: JointModel): Promise<void> {
  for (const [, t] of model.namedTensors()) {
    const values = (await t.data()) as Float32Array;
    writeValues(
      t,
      Float32Array.from(values, (value) => fromHalf(toHalf(value))),
    );
  }
}

/** Writes the weights as float16, under the names that the models of all tasks have. */
export async function saveJointModel(path: string, model: JointModel, spec: JointSpec): Promise<void> {
  const tensors = Array.from(
    model.namedTensors(),
    ([name, t]): WritableTensor => ({
      name,
      dtype: 'float16',
      shape: t.shape,
      data: async () => Uint16Array.from((await t.data()) as Float32Array, toHalf),
    }),
  );
  await writeSafetensors(path, tensors, { format: 'pt', config: configOf(spec) });
}

/** Writes the weights as they are, float32: what another program starts from to train on the same batches. */
export async function saveInitialWeights(path: string, model: JointModel, spec: JointSpec): Promise<void> {
  await writeSafetensors(path, writableTensors(model.namedTensors()), { format: 'pt', config: configOf(spec) });
}

/** The shipped model's vision tower as the teacher of a finer tokenizer. */
import { scope } from '../../../core/memory.js';
import { noGrad } from '../../../core/modes.js';
import { type Tensor, tensor } from '../../../core/tensor.js';
import type { Retrieval } from '../../heads/index.js';
import { towerFeatures } from '../../vqkd/teachers/tower.js';

/**
 * Features [B, 16, D] of 4 x 4 patches of pictures [B, 3, S, S] by a model that sees 2 x 2: those behind its last layer,
 * which all of its tasks read.
 */
export function teacherFeatures(teacher: Retrieval, images: Float32Array, count: number): Tensor {
  const side = Math.sqrt(images.length / (3 * count));
  const { backend } = teacher.logit_scale;
  const layer = teacher.beit3.encoder.layers.length - 1;
  return noGrad(() =>
    scope(() =>
      towerFeatures(teacher.beit3, tensor(images, { shape: [count, 3, side, side], backend }), { layer, finer: 2 }),
    ),
  );
}

/** The shipped model's vision tower as the teacher of a finer tokenizer. */
import { scope } from '../../../core/memory.js';
import { noGrad } from '../../../core/modes.js';
import { layerNorm, ones, permute, reshape, slice, zeros } from '../../../core/ops/index.js';
import { type Tensor, tensor } from '../../../core/tensor.js';
import type { Retrieval } from '../../heads/index.js';

/** What lies outside of a picture is white. */
const WHITE = 1;

/**
 * Features [B, 16, D] of 4 x 4 patches of pictures [B, 3, S, S] by a model that sees 2 x 2: it looks four times, at
 * pictures moved by an eighth of their side either way, so that each of its patches has one of ours in its middle. The
 * features are those behind the last layer but one, whose patches other positions look at, each with mean 0 and variance 1.
 */
export function teacherFeatures(teacher: Retrieval, images: Float32Array, count: number): Tensor {
  const side = Math.sqrt(images.length / (3 * count));
  const moved = new Float32Array(4 * images.length);
  for (let k = 0; k < 4; k++) {
    const [down, right] = [k >> 1, k & 1].map((n) => (n === 0 ? side / 8 : -side / 8));
    for (let plane = 0; plane < 3 * count; plane++)
      movePlane(images, plane * side * side, moved, k * images.length + plane * side * side, side, down, right);
  }
  const { backend } = teacher.logit_scale;
  return noGrad(() =>
    scope(() => {
      const last = teacher.beit3.encoder.layers.length - 2;
      let seen: Tensor | null = null;
      teacher.beit3.onHidden = (hidden, layer) => {
        if (layer === last) seen = hidden;
      };
      teacher.beit3.forward({ image: tensor(moved, { shape: [4 * count, 3, side, side], backend }) });
      teacher.beit3.onHidden = null;
      const hidden = seen as unknown as Tensor;
      const D = hidden.shape[2];
      const normed = layerNorm(hidden, ones([D], { backend }), zeros([D], { backend }));
      // [moved down, moved right, B, row, column, D] -> rows and columns of the finer grid.
      const parts = reshape(slice(normed, 1, 1), [2, 2, count, 2, 2, D]);
      return reshape(permute(parts, [2, 3, 0, 4, 1, 5]), [count, 16, D]);
    }),
  );
}

function movePlane(
  from: Float32Array,
  fromAt: number,
  to: Float32Array,
  toAt: number,
  side: number,
  down: number,
  right: number,
): void {
  to.fill(WHITE, toAt, toAt + side * side);
  for (let y = Math.max(0, down); y < Math.min(side, side + down); y++) {
    const start = fromAt + (y - down) * side + Math.max(0, -right);
    to.set(from.subarray(start, start + side - Math.abs(right)), toAt + y * side + Math.max(0, right));
  }
}

/** The vision tower of a BEiT-3 as a teacher. */
import { scope } from '../../../core/memory.js';
import { noGrad } from '../../../core/modes.js';
import { expand, layerNorm, ones, reshape, slice, zeros } from '../../../core/ops/index.js';
import type { Tensor } from '../../../core/tensor.js';
import type { Beit3 } from '../../model/beit3.js';

export interface TowerOptions {
  /** The layer whose outputs are the features, from 0. */
  readonly layer: number;
  /** Patches of the result in the place of each of the tower's, along a side. */
  readonly finer: number;
}

/**
 * Features [B, P, D] of pictures [B, 3, S, S]: what a layer puts out at the patches, each with mean 0 and variance 1. In a
 * grid that is finer than the tower's, patches have the features of the larger one around them: looking at moved pictures
 * instead, whose edges the tower does not know, was found to tell less of emoji.
 */
export function towerFeatures(tower: Beit3, images: Tensor, { layer, finer }: TowerOptions): Tensor {
  const { backend } = images;
  return noGrad(() =>
    scope(() => {
      let seen: Tensor | null = null;
      tower.onHidden = (hidden, i) => {
        if (i === layer) seen = hidden;
      };
      try {
        tower.forward({ image: images });
      } finally {
        tower.onHidden = null;
      }
      const hidden = seen as unknown as Tensor;
      const [B, positions, D] = hidden.shape;
      const grid = Math.sqrt(positions - 1);
      const patches = slice(layerNorm(hidden, ones([D], { backend }), zeros([D], { backend })), 1, 1);
      const repeated = expand(reshape(patches, [B, grid, 1, grid, 1, D]), [B, grid, finer, grid, finer, D]);
      return reshape(repeated, [B, (finer * grid) ** 2, D]);
    }),
  );
}

/** The vision tower of a BEiT-3 as a teacher. */
import { InputError } from '../../../core/errors.js';
import { scope } from '../../../core/memory.js';
import { noGrad } from '../../../core/modes.js';
import { cat, layerNorm, ones, pad, permute, reshape, slice, zeros } from '../../../core/ops/index.js';
import type { Tensor } from '../../../core/tensor.js';
import type { Beit3 } from '../../model/beit3.js';

/** What lies outside of a picture is white. */
const WHITE = 1;

export interface TowerOptions {
  /** The layer whose outputs are the features, from 0. */
  readonly layer: number;
  /** Patches of the result in the place of each of the tower's, along a side. */
  readonly finer: number;
}

/** How far pictures are moved for a grid that is `finer` than patches of `patch` pixels. Throws InputError for half pixels. */
export function moves(patch: number, finer: number): readonly number[] {
  const all = Array.from({ length: finer }, (_, i) => (patch * (finer - 1 - 2 * i)) / (2 * finer));
  if (all.every(Number.isInteger)) return all;
  throw new InputError(
    `Patches of ${patch} pixels cannot be moved by parts of a pixel to make ${finer} of each; choose another grid.`,
  );
}

/**
 * Features [B, P, D] of pictures [B, 3, S, S]: what a layer puts out at the patches, each with mean 0 and variance 1. For a
 * grid that is finer than the tower's it looks several times, at moved pictures, so that each of its patches has one of the
 * finer grid in its middle.
 */
export function towerFeatures(tower: Beit3, images: Tensor, { layer, finer }: TowerOptions): Tensor {
  const { backend } = images;
  const [B, , side] = images.shape;
  const grid = Math.sqrt(tower.visionLength - 1);
  const shifts = moves(side / grid, finer);
  return noGrad(() =>
    scope(() => {
      let seen: Tensor | null = null;
      tower.onHidden = (hidden, i) => {
        if (i === layer) seen = hidden;
      };
      try {
        tower.forward({
          image: cat(
            shifts.flatMap((down) => shifts.map((right) => moved(images, down, right))),
            0,
          ),
        });
      } finally {
        tower.onHidden = null;
      }
      const hidden = seen as unknown as Tensor;
      const D = hidden.shape[2];
      const normed = layerNorm(hidden, ones([D], { backend }), zeros([D], { backend }));
      // [moved down, moved right, B, row, column, D] -> rows and columns of the finer grid.
      const parts = reshape(slice(normed, 1, 1), [finer, finer, B, grid, grid, D]);
      return reshape(permute(parts, [2, 3, 0, 4, 1, 5]), [B, (finer * grid) ** 2, D]);
    }),
  );
}

/** Pictures [B, 3, S, S] moved by whole pixels. */
function moved(images: Tensor, down: number, right: number): Tensor {
  if (down === 0 && right === 0) return images;
  const side = images.shape[2];
  const around = (by: number): [number, number] => [Math.max(0, by), Math.max(0, -by)];
  const padded = pad(images, [[0, 0], [0, 0], around(down), around(right)], WHITE);
  const from = (by: number): number => Math.max(0, -by);
  return slice(slice(padded, 2, from(down), from(down) + side), 3, from(right), from(right) + side);
}

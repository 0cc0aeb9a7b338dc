/** Relative positions of the patches of a square image and [CLS] (BEiT; Bao et al. 2022). */
import { gatherRows, permute, reshape } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import type { Builder, Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { Module } from '../../nn/module.js';

/** Rows behind the distances: [CLS] to patch, patch to [CLS], [CLS] to itself. */
export const CLS_ROWS = 3;

/** Rows of a table: every distance between two patches of a grid, and those of [CLS]. */
export function distanceCount(grid: number): number {
  return (2 * grid - 1) ** 2 + CLS_ROWS;
}

const indices = new Map<number, Int32Array>();

/** Row of the table for each pair of positions, [1 + grid^2, 1 + grid^2]. */
export function relativeIndex(grid: number): Int32Array {
  const known = indices.get(grid);
  if (known) return known;
  const N = grid * grid + 1;
  const rows = distanceCount(grid);
  const index = new Int32Array(N * N);
  for (let i = 0; i < N; i++) {
    for (let j = 0; j < N; j++) {
      let row: number;
      if (i === 0) row = j === 0 ? rows - 1 : rows - 3;
      else if (j === 0) row = rows - 2;
      else {
        const down = Math.floor((i - 1) / grid) - Math.floor((j - 1) / grid) + grid - 1;
        row = down * (2 * grid - 1) + ((i - 1) % grid) - ((j - 1) % grid) + grid - 1;
      }
      index[i * N + j] = row;
    }
  }
  indices.set(grid, index);
  return index;
}

/** The index as a tensor int32 [N * N], for one pass through all layers. */
export function indexTensor(grid: number, like: Tensor): Tensor {
  return fresh(() => tensor(relativeIndex(grid), { backend: like.backend }));
}

/** What attention scores [H, N, N] gain: rows of a table [distances, H] by an index [N * N]. */
export function positionBias(table: Tensor, index: Tensor): Tensor {
  const N = Math.sqrt(index.size);
  return permute(reshape(gatherRows(table, index), [N, N, table.shape[1]]), [2, 0, 1]);
}

/** One table for all layers. */
export class RelativePositionBias extends Module {
  readonly relative_position_bias_table: Parameter;

  constructor(b: Builder, grid: number, heads: number) {
    super();
    this.relative_position_bias_table = b
      .at('relative_position_bias_table')
      .parameter([distanceCount(grid), heads], init.zeros);
  }

  forward(index: Tensor): Tensor {
    return positionBias(this.relative_position_bias_table, index);
  }
}

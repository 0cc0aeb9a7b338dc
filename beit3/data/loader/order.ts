import { generatorOf } from './random.js';

export interface OrderOptions {
  readonly training: boolean;
  readonly seed: number;
  readonly rank: number;
  readonly worldSize: number;
}

/** Samples that a rank has in an epoch. */
export function shareSize(size: number, { training, rank, worldSize }: OrderOptions): number {
  return training ? Math.ceil(size / worldSize) : Math.max(0, Math.ceil((size - rank) / worldSize));
}

/**
 * The rows of a rank in an epoch, as PyTorch's DistributedSampler shares them out: all in random order, from the start
 * again until every rank has as many, then each rank every worldSize-th. In evaluation they keep their order and none
 * comes twice.
 */
export function epochOrder(size: number, epoch: number, options: OrderOptions): Int32Array {
  const { training, seed, rank, worldSize } = options;
  const all = training ? generatorOf(seed, 'order', epoch, 0).permutation(size) : null;
  const rows = new Int32Array(shareSize(size, options));
  for (let i = 0; i < rows.length; i++) {
    const place = (i * worldSize + rank) % size;
    rows[i] = all === null ? place : all[place];
  }
  return rows;
}

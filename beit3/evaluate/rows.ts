import type { ImageBatch } from '../data/batch.js';

/** The first row of each id that `seen` does not have. */
export function firstOfEach(ids: readonly number[], seen: { has(id: number): boolean }): number[] {
  const own = new Set<number>();
  return ids.flatMap((id, row) => {
    if (seen.has(id) || own.has(id)) return [];
    own.add(id);
    return [row];
  });
}

/** The pictures of some rows of a batch. */
export function picturesAt(batch: ImageBatch, rows: readonly number[]): ImageBatch {
  if (rows.length === batch.size) return batch;
  const each = batch.images.length / batch.size;
  const images = new Float32Array(rows.length * each);
  for (const [i, row] of rows.entries()) images.set(batch.images.subarray(row * each, (row + 1) * each), i * each);
  return { size: rows.length, side: batch.side, images, files: rows.map((row) => batch.files[row]) };
}

import type { Task } from '../../beit3/config.js';
import type { AnyBatch } from '../../beit3/data/batch.js';
import { DataLoader, type DataSet, type LoaderOptions } from '../../beit3/data/loader/index.js';
import { evaluation, visionLanguageTraining } from '../../beit3/data/transforms/index.js';

export const SIZE = 16;
export const training = { training: true, transform: visionLanguageTraining({ size: SIZE, randAugment: true }) };
export const testing = { training: false, transform: evaluation('vl', SIZE) };

/** Batches of an epoch with a loader of their own. */
export async function batchesOf<T extends Task>(
  data: DataSet<T>,
  options: LoaderOptions,
  epoch = 0,
  from = 0,
): Promise<AnyBatch[]> {
  const loader = new DataLoader(data, options);
  const all: AnyBatch[] = [];
  try {
    for await (const batch of loader.epoch(epoch, from)) all.push(batch);
  } finally {
    await loader.close();
  }
  return all;
}

/** A data set without files: picture i is one of the number i. */
export function numbered(size: number): DataSet<'imageclassification'> {
  return {
    task: 'imageclassification',
    size,
    classes: size,
    vocabulary: null,
    sample: (row) => ({ pictures: [{ width: 2, height: 2, data: new Uint8Array(12).fill(row) }], label: row }),
    where: (row) => `row ${row}`,
  };
}

export const labelsOf = (batches: readonly AnyBatch[]): number[] =>
  batches.flatMap((batch) => ('labels' in batch ? [...batch.labels] : []));

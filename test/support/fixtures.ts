/** Files of test/fixtures. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openCheckpoint, readFloat32, readInt32 } from '../../checkpoints/index.js';

/** The package's root folder, seen from dist/test/support. */
export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url));

/** The path of a fixture. */
export const fixture = (name: string): string => `${packageRoot}test/fixtures/${name}`;

export const readJson = async <T>(name: string): Promise<T> => JSON.parse(await readFile(fixture(name), 'utf8'));

export interface StoredArray {
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

/** All tensors of a checkpoint by name; 64-bit integers come as int32. */
export async function readTensors(name: string): Promise<Map<string, StoredArray>> {
  const file = await openCheckpoint(fixture(name));
  try {
    const out = new Map<string, StoredArray>();
    for (const [key, entry] of file.tensors) {
      const values = entry.dtype === 'int64' ? await readInt32(entry) : await readFloat32(entry);
      out.set(key, { shape: entry.shape, values });
    }
    return out;
  } finally {
    await file.close();
  }
}

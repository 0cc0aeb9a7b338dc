import { InputError } from '../../core/errors.js';
import type { CheckpointContents } from '../checkpoint.js';
import type { ByteSource } from '../source.js';
import { contentsOf, type StoragePlace } from './contents.js';
import { StorageObject, torchHooks } from './objects.js';
import { unpickle } from './pickle.js';
import { readZip } from './zip.js';

/** A checkpoint of 10,000 tensors has a pickle of some 2 MB. */
export const MAX_PICKLE_BYTES = 1 << 27;

/** Reads the directory of a checkpoint as PyTorch has written them since 1.6: a zip archive of a pickle and storages. */
export async function openZipPth(source: ByteSource): Promise<CheckpointContents> {
  const entries = await readZip(source);
  const pickleName = [...entries.keys()].find((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  if (pickleName === undefined) {
    throw new InputError(`${source.name} is a zip archive without data.pkl, so not a PyTorch checkpoint.`);
  }
  const prefix = pickleName.slice(0, -'data.pkl'.length);
  const pickle = entries.get(pickleName)!;
  if (pickle.size > MAX_PICKLE_BYTES) {
    throw new InputError(`${source.name} has a pickle of ${pickle.size} bytes, expected at most ${MAX_PICKLE_BYTES}.`);
  }
  const order = entries.get(`${prefix}byteorder`);
  const bigEndian = order !== undefined && order.size === 3 && (await text(order)) === 'big';
  const bytes = await (await pickle.open()).read(0, pickle.size);

  const used = new Set<string>();
  const hooks = torchHooks(source.name);
  const persistent = (id: unknown): unknown => {
    const storage = hooks.persistent(id);
    if (storage instanceof StorageObject) used.add(storage.key);
    return storage;
  };
  const { value } = unpickle(bytes, 0, { ...hooks, persistent }, source.name);
  const places = new Map<string, StoragePlace>();
  for (const key of used) {
    const entry = entries.get(`${prefix}data/${key}`);
    if (entry) {
      const place = { source: await entry.open(), offset: 0, byteLength: entry.size, exact: entry.deflated };
      places.set(key, place);
    }
  }
  const contents = contentsOf(value, { source, bigEndian, storage: (ref) => places.get(ref.key) });
  return { format: 'pth-zip', metadata: {}, ...contents };
}

async function text(entry: { size: number; open(): Promise<ByteSource> }): Promise<string> {
  return new TextDecoder().decode(await (await entry.open()).read(0, entry.size));
}

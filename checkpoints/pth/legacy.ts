import { InputError } from '../../core/errors.js';
import type { CheckpointContents } from '../checkpoint.js';
import { shown } from '../shown.js';
import type { ByteSource } from '../source.js';
import { itemBytes } from '../stored.js';
import { contentsOf, type StoragePlace } from './contents.js';
import { StorageObject, torchHooks } from './objects.js';
import { PickleEnd, unpickle } from './pickle.js';
import { MAX_PICKLE_BYTES } from './zipped.js';

/** First pickle of every legacy file, an integer of this value. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const FIRST_BYTES = 1 << 18;

/**
 * Reads the directory of a checkpoint as PyTorch wrote them before 1.6: five pickles (a magic number, the protocol,
 * the machine, the object, the keys of the storages) and then the storages, each after its element count.
 */
export async function openLegacyPth(source: ByteSource): Promise<CheckpointContents> {
  const { parts, storages, end } = await readPickles(source);
  const [, , machine, top, keys] = parts;
  const bigEndian = machine instanceof Map && machine.get('little_endian') === false;
  if (!Array.isArray(keys))
    throw new InputError(`${source.name} is damaged: it has no list of storages; get it again.`);

  const places = new Map<string, StoragePlace>();
  let at = end;
  for (const key of keys as unknown[]) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage) {
      throw new InputError(
        `${source.name} is damaged: no tensor uses its storage ${shown(String(key))}; get it again.`,
      );
    }
    const counted = await source.read(at, 8);
    const count = Number(new DataView(counted.buffer, counted.byteOffset, 8).getBigUint64(0, !bigEndian));
    const byteLength = count * (storage.dtype ? itemBytes(storage.dtype) : 1);
    if (at + 8 + byteLength > source.size) {
      throw new InputError(
        `${source.name} is truncated: storage ${shown(storage.key)} ends at byte ${at + 8 + byteLength} and the file has ${source.size}; get it again.`,
      );
    }
    places.set(storage.key, { source, offset: at + 8, byteLength });
    at += 8 + byteLength;
  }
  const contents = contentsOf(top, { source, bigEndian, storage: (ref) => places.get(ref.key) });
  return { format: 'pth-legacy', metadata: {}, ...contents };
}

interface Pickles {
  parts: unknown[];
  storages: Map<string, StorageObject>;
  end: number;
}

/** Nothing says how long the pickles are: tries with the file's start, and with twice as much when that ends early. */
async function readPickles(source: ByteSource): Promise<Pickles> {
  for (let length = FIRST_BYTES; ; length *= 4) {
    const bytes = await source.read(0, Math.min(length, source.size));
    try {
      return parsePickles(bytes, source.name);
    } catch (error) {
      if (!(error instanceof PickleEnd) || bytes.length === source.size) throw error;
      if (length >= MAX_PICKLE_BYTES) {
        throw new InputError(
          `${source.name} has a pickle of more than ${length} bytes, which no honest checkpoint has.`,
        );
      }
    }
  }
}

function parsePickles(bytes: Uint8Array, name: string): Pickles {
  const storages = new Map<string, StorageObject>();
  const hooks = torchHooks(name);
  const persistent = (id: unknown): unknown => {
    const storage = hooks.persistent(id);
    if (storage instanceof StorageObject) storages.set(storage.key, storage);
    return storage;
  };
  const parts: unknown[] = [];
  let end = 0;
  for (let i = 0; i < 5; i++) {
    const part = unpickle(bytes, end, { ...hooks, persistent }, name);
    end = part.end;
    parts.push(part.value);
    if ((i === 0 && part.value !== MAGIC) || (i === 1 && part.value !== PROTOCOL)) {
      throw new InputError(`${name} is a Python pickle, but not a checkpoint that torch.save wrote.`);
    }
  }
  return { parts, storages, end };
}

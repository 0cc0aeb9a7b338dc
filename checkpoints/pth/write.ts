import { InputError } from '../../core/errors.js';
import { InertObject, isTensorEntry, type Plain } from '../plain.js';
import { type ByteSink, collectBytes, writeFileAtomically } from '../sink.js';
import { elementCount } from '../stored.js';
import { type PreparedTensor, prepare, prepareAll, type WritableTensor } from '../writable.js';
import { notPlain, PickleWriter } from './pickleWriter.js';
import { ZipWriter } from './zipWriter.js';

export interface PthOptions {
  /** Under which key the state dict lies; null puts the tensors at the top. Default `model`. */
  key?: string | null;
  /** What else to write beside it: plain data and tensor entries. */
  extra?: Readonly<Record<string, Plain>>;
}

const MAX_DEPTH = 200;

/**
 * Writes a PyTorch checkpoint (Node) that `torch.load(weights_only=True)` reads, streaming: at most one tensor's
 * values are held. Throws InputError.
 */
export function writePth(path: string, tensors: Iterable<WritableTensor>, options: PthOptions = {}): Promise<void> {
  return writeFileAtomically(path, (sink) => write(sink, tensors, options));
}

/** The same file as bytes. */
export function pthBytes(
  tensors: Iterable<WritableTensor>,
  options: PthOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  return collectBytes((sink) => write(sink, tensors, options));
}

async function write(sink: ByteSink, tensors: Iterable<WritableTensor>, options: PthOptions): Promise<void> {
  const { key = 'model', extra = {} } = options;
  const prepared = prepareAll(tensors);
  const names = key === null ? prepared.map((tensor) => tensor.name) : [key];
  const taken = names.find((name) => Object.hasOwn(extra, name));
  if (taken !== undefined) throw new InputError(`${taken} is both in extra and a name of the checkpoint itself.`);

  const storages: PreparedTensor[] = [];
  const pickle = new PickleWriter();
  const tensor = (value: PreparedTensor): void => {
    const count = elementCount(value.shape);
    pickle.tensor(value.dtype, value.shape, String(storages.length), value.byteLength, count);
    storages.push(value);
  };
  const plain = (value: Plain, path: string, depth: number): void => {
    if (depth > MAX_DEPTH) throw new InputError(`${path.slice(0, 100)}... is nested deeper than ${MAX_DEPTH} levels.`);
    if (value === null) pickle.none();
    else if (typeof value === 'boolean') pickle.bool(value);
    else if (typeof value === 'number') pickle.number(value);
    else if (typeof value === 'string') pickle.text(value);
    else if (value instanceof Uint8Array) pickle.bytes(value);
    else if (isTensorEntry(value)) tensor(prepare(value));
    else if (Array.isArray(value)) {
      pickle.beginList();
      for (const [i, item] of value.entries()) plain(item, `${path}.${i}`, depth + 1);
      pickle.endList();
    } else if (isPlainObject(value)) {
      pickle.beginDict();
      for (const [name, item] of Object.entries(value)) {
        if (item === undefined) continue;
        pickle.text(name);
        plain(item as Plain, `${path}.${name}`, depth + 1);
      }
      pickle.endDict();
    } else notPlain(path, value);
  };

  pickle.beginDict();
  if (key !== null) {
    pickle.text(key);
    pickle.beginDict();
  }
  for (const value of prepared) {
    pickle.text(value.name);
    tensor(value);
  }
  if (key !== null) pickle.endDict();
  for (const [name, value] of Object.entries(extra)) {
    pickle.text(name);
    plain(value, name, 0);
  }
  pickle.endDict();

  const zip = new ZipWriter(sink);
  const add = (name: string, bytes: Uint8Array): Promise<void> =>
    zip.add(`archive/${name}`, bytes.length, (entry) => entry.write(bytes));
  await add('data.pkl', pickle.done());
  await add('byteorder', new TextEncoder().encode('little'));
  for (const [i, storage] of storages.entries()) {
    await zip.add(`archive/data/${i}`, storage.byteLength, (entry) => storage.stream((bytes) => entry.write(bytes)));
  }
  await add('version', new TextEncoder().encode('3\n'));
  await zip.finish();
}

/** Inert objects are written as the data they are. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || value instanceof InertObject;
}

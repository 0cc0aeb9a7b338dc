import { InputError } from '../../core/errors.js';
import { StoredTensor, type TensorEntry } from '../entry.js';
import { InertObject, type Plain } from '../plain.js';
import { shown } from '../shown.js';
import { type ByteSource, bytesSource } from '../source.js';
import { elementCount, itemBytes } from '../stored.js';
import { NumpyArray, NumpyDType, StorageObject, type StorageRef, TensorRef, torchDType } from './objects.js';
import { PyGlobal, PyObject } from './pickle.js';
import { isScripted, scriptedState } from './scripted.js';

/** Where the bytes of a storage lie. */
export interface StoragePlace {
  source: ByteSource;
  offset: number;
  byteLength: number;
  /** It must hold the storage and nothing else: unpacking more could take any memory. */
  exact?: boolean;
}

/** What the tensors of one file share. */
export interface PthFile {
  source: ByteSource;
  bigEndian: boolean;
  /** Undefined when the file has no such storage. */
  storage(ref: StorageRef): StoragePlace | undefined;
}

/** Where a state dict lies in the files that training programs write. */
const STATE_DICT_KEYS = ['model', 'module', 'state_dict'];

const MAX_DEPTH = 200;
const MAX_NODES = 2_000_000;
/** A view may repeat elements (`expand`); one whose values would exceed this and the whole file is refused. */
const MAX_EXPANDED_BYTES = 1 << 26;

/** The state dict of what a pickle holds, and the rest as plain data. */
export function contentsOf(
  unpickled: unknown,
  file: PthFile,
): { tensors: Map<string, TensorEntry>; extra: Record<string, Plain> } {
  const name = file.source.name;
  const top = isScripted(unpickled) ? scriptedState(unpickled, name) : unpickled;
  if (top instanceof PyObject) {
    throw new InputError(
      `${name} holds a Python object of class ${shown(top.type.path)}, not a state dict; save its state_dict() instead.`,
    );
  }
  if (!(top instanceof Map)) throw new InputError(`${name} holds no state dict; save a model's state_dict().`);
  const key = STATE_DICT_KEYS.find((candidate) => top.get(candidate) instanceof Map);
  const dict = key === undefined ? top : (top.get(key) as Map<unknown, unknown>);
  const tensors = new Map<string, TensorEntry>();
  const rest = new Map<unknown, unknown>();
  const plain = new PlainConverter(file);
  for (const [tensorName, value] of dict) {
    const entry = plain.tensor(value, String(tensorName));
    if (entry && typeof tensorName === 'string') tensors.set(tensorName, entry);
    else rest.set(tensorName, value);
  }
  if (tensors.size === 0 && dict.size > 0) {
    const keys = [...top.keys()]
      .slice(0, 8)
      .map((k) => shown(keyText(k)))
      .join(', ');
    throw new InputError(
      `${name} has no tensors under ${STATE_DICT_KEYS.join(', ')} or at its top (it has: ${keys}); save a state_dict().`,
    );
  }
  const extra = key === undefined ? rest : new Map([...top].filter(([k]) => k !== key));
  if (key !== undefined && rest.size > 0) extra.set(key, rest);
  return { tensors, extra: plain.convert(extra, '', 0) as Record<string, Plain> };
}

/** Turns unpickled values into data without sharing or cycles, within a budget. */
class PlainConverter {
  private nodes = 0;
  private readonly active = new Set<unknown>();

  constructor(private readonly file: PthFile) {}

  /** The entry of a tensor, storage or numpy array; undefined for anything else. */
  tensor(value: unknown, name: string): TensorEntry | undefined {
    if (value instanceof TensorRef) return this.place(name, value);
    if (value instanceof StorageObject) {
      return this.place(name, new TensorRef(value, value.dtype ?? 'uint8', 0, [value.count], [1]));
    }
    if (value instanceof NumpyArray && value.type?.dtype && value.bytes) {
      const { shape, fortran, bytes } = value;
      const strides = shape.map(() => 1);
      for (let n = 1; n < shape.length; n++) {
        const [i, before] = fortran ? [n, n - 1] : [shape.length - 1 - n, shape.length - n];
        strides[i] = strides[before] * shape[before];
      }
      const source = bytesSource(bytes, this.file.source.name);
      const place = { offset: 0, strides, bigEndian: value.type.bigEndian };
      return new StoredTensor(name, value.type.dtype, shape, source, place);
    }
    return undefined;
  }

  private place(name: string, ref: TensorRef): TensorEntry {
    const { storage, dtype, shape, strides } = ref;
    const fail = (why: string): never => {
      throw new InputError(`${this.file.source.name} is damaged: tensor ${shown(name)} ${why}; get it again.`);
    };
    const place =
      this.file.storage(storage) ?? fail(`lies in storage ${shown(storage.key)}, which the file does not have`);
    const width = itemBytes(dtype);
    const storageItem = storage.dtype ? itemBytes(storage.dtype) : 1;
    const available = storage.count * storageItem;
    const needed = (storage.shift + storage.count) * storageItem;
    if (!(needed <= place.byteLength) || (place.exact && needed < place.byteLength)) {
      fail(`needs ${available} bytes of storage ${shown(storage.key)}, which has ${place.byteLength}`);
    }
    const count = elementCount(shape);
    if (count > 0) {
      const last = shape.reduce((sum, size, i) => sum + (size - 1) * strides[i], ref.offset);
      if (!((last + 1) * width <= available)) fail(`[${shape}] reaches beyond its storage`);
      if (count * width > Math.max(this.file.source.size, MAX_EXPANDED_BYTES))
        fail(`[${shape}] is larger than the file`);
    }
    return new StoredTensor(name, dtype, shape, place.source, {
      offset: place.offset + storage.shift * storageItem + ref.offset * width,
      strides,
      bigEndian: this.file.bigEndian,
    });
  }

  convert(value: unknown, path: string, depth: number): Plain {
    const name = this.file.source.name;
    if (++this.nodes > MAX_NODES) throw new InputError(`${name} holds too much data beside its tensors.`);
    if (depth > MAX_DEPTH) throw new InputError(`${name} nests its data deeper than ${MAX_DEPTH} levels.`);
    if (value === null || typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string') {
      return value;
    }
    if (typeof value === 'bigint') return String(value);
    if (value instanceof Uint8Array) return value;
    const dtype = torchDType(value);
    if (dtype) return `torch.${dtype}`;
    const entry = this.tensor(value, path);
    if (entry) return entry;
    if (value instanceof PyGlobal) return new InertObject(value.path, [], null);
    if (value instanceof NumpyDType) return `numpy.${value.code}`;
    if (value instanceof NumpyArray) return new InertObject('numpy.ndarray', [], null);
    if (this.active.has(value)) return '<cycle>';
    this.active.add(value);
    const inside = (item: unknown, key: string): Plain =>
      this.convert(item, path === '' ? key : `${path}.${key}`, depth + 1);
    let out: Plain = null;
    if (Array.isArray(value)) {
      out = [];
      for (let i = 0; i < value.length; i++) out.push(inside(value[i], String(i)));
    } else if (value instanceof Map) {
      out = {};
      for (const [k, item] of value) {
        const key = keyText(k);
        const converted = inside(item, key);
        // Not an assignment: the key may be `__proto__`.
        Object.defineProperty(out, key, { value: converted, enumerable: true, writable: true, configurable: true });
      }
    } else if (value instanceof PyObject) {
      const items = value.dict ?? value.list;
      out = new InertObject(
        value.type.path,
        inside(value.args, 'args') as Plain[],
        inside(value.state, 'state'),
        items ? inside(items, 'items') : undefined,
      );
    }
    this.active.delete(value);
    return out;
  }
}

function keyText(key: unknown): string {
  if (typeof key === 'object' && key !== null) {
    if (Array.isArray(key) && key.length <= 16)
      return `(${key.map((item) => (Array.isArray(item) ? '...' : keyText(item))).join(', ')})`;
    return key instanceof PyGlobal ? key.path : '<object>';
  }
  return String(key);
}

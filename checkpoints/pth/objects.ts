import { InputError } from '../../core/errors.js';
import { shown } from '../shown.js';
import { elementCount, isStoredDType, itemBytes, type StoredDType } from '../stored.js';
import { isDangerous, SCRIPTED_DATA } from './dangerous.js';
import { type PickleHooks, PyGlobal, PyObject } from './pickle.js';

/** A storage that a pickle refers to: a run of elements that lies elsewhere in the file. */
export interface StorageRef {
  readonly key: string;
  /** Null when it counts bytes. */
  readonly dtype: StoredDType | null;
  /** Elements, or bytes when untyped. */
  readonly count: number;
  /** Elements by which a view of another storage (legacy format) is shifted. */
  readonly shift: number;
}

/** A tensor as pickled: a view of a storage, offset and strides in elements. */
export class TensorRef {
  constructor(
    readonly storage: StorageRef,
    readonly dtype: StoredDType,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** A whole storage, where a pickle holds one outside a tensor. */
export class StorageObject implements StorageRef {
  constructor(
    readonly key: string,
    readonly dtype: StoredDType | null,
    readonly count: number,
    readonly shift: number,
  ) {}
}

/** A numpy element type, such as `<f4`; the byte order comes with its state. */
export class NumpyDType {
  bigEndian = false;
  constructor(readonly code: string) {}
  get dtype(): StoredDType | undefined {
    return NUMPY_DTYPES[this.code.replace(/^[<>|=]/, '')];
  }
}

/** A numpy array whose values lie in the pickle itself; its state fills it. */
export class NumpyArray {
  shape: readonly number[] = [];
  type: NumpyDType | null = null;
  bytes: Uint8Array | null = null;
  fortran = false;
}

/** Null-prototype: a name from the file is looked up in these. */
function table(entries: Record<string, StoredDType>): Partial<Record<string, StoredDType>> {
  return Object.assign(Object.create(null), entries);
}

const NUMPY_DTYPES = table({
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
  c8: 'complex64',
  c16: 'complex128',
});

const STORAGE_DTYPES = table({
  FloatStorage: 'float32',
  DoubleStorage: 'float64',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  ComplexFloatStorage: 'complex64',
  ComplexDoubleStorage: 'complex128',
});

/** Names of dtypes in the module `torch` that differ from ours. */
const TORCH_DTYPES = table({
  float: 'float32',
  double: 'float64',
  half: 'float16',
  long: 'int64',
  int: 'int32',
  short: 'int16',
});

/** The dtype that a global such as `torch.bfloat16` names. */
export function torchDType(value: unknown): StoredDType | undefined {
  if (!(value instanceof PyGlobal) || value.module !== 'torch') return undefined;
  return isStoredDType(value.name) ? value.name : TORCH_DTYPES[value.name];
}

const MAX_DIMENSIONS = 64;
const MAX_COPIED = 8_000_000;

/**
 * The meaning of what a PyTorch pickle may contain: tensors, storages, numpy data and Python's own containers. A call
 * of anything else yields a `PyObject`; of something that could do harm, an InputError that names it.
 */
export function torchHooks(what: string): PickleHooks {
  const damaged = (why: string): never => {
    throw new InputError(`${what} holds a damaged pickle: ${why}; get it again.`);
  };
  const size = (value: unknown): number =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : damaged('a size is not valid');
  const sizes = (value: unknown): number[] => {
    if (!Array.isArray(value) || value.length > MAX_DIMENSIONS) return damaged('a tensor has no valid shape');
    return value.map(size);
  };

  const tensor = (args: unknown[], dtype?: StoredDType): TensorRef => {
    const [storage, offset, shape, strides] = args;
    if (!(storage instanceof StorageObject)) return damaged('a tensor has no storage');
    const type = dtype ?? storage.dtype;
    if (!type) return damaged('a tensor has no dtype');
    const ref = new TensorRef(storage, type, size(offset), sizes(shape), sizes(strides));
    if (ref.shape.length !== ref.strides.length) damaged('a tensor has strides of another rank than its shape');
    if (Number.isNaN(elementCount(ref.shape))) damaged('a tensor has no valid shape');
    return ref;
  };
  // What calls may copy in all: a pickle can name one large list a million times.
  let copied = 0;
  const charge = (items: number): void => {
    copied += items;
    if (copied > MAX_COPIED) damaged('it makes too many objects');
  };
  const map = (args: unknown[], at = 0): Map<unknown, unknown> => {
    const items = args[at];
    if (items instanceof Map) return items;
    const out = new Map<unknown, unknown>();
    if (!Array.isArray(items)) return out;
    charge(items.length);
    for (const pair of items) if (Array.isArray(pair)) out.set(pair[0], pair[1]);
    return out;
  };
  const list = ([items]: unknown[]): unknown => (Array.isArray(items) ? items : []);
  const first = ([value]: unknown[]): unknown => value;
  /** Bytes, or text that stands for them byte by byte. */
  const toBytes = (value: unknown): Uint8Array | null => {
    if (value instanceof Uint8Array) return value;
    if (typeof value !== 'string') return null;
    charge(value.length);
    return Uint8Array.from(value, (c) => c.charCodeAt(0));
  };
  const numpyArray = (shape: unknown, type: unknown, bytes: unknown, fortran: boolean): NumpyArray => {
    const array = new NumpyArray();
    array.shape = sizes(shape);
    array.type = type instanceof NumpyDType ? type : damaged('a numpy array has no dtype');
    array.bytes = toBytes(bytes);
    array.fortran = fortran;
    const dtype = array.type.dtype;
    if (dtype && array.bytes && array.bytes.length !== elementCount(array.shape) * itemBytes(dtype)) {
      damaged('a numpy array does not have the bytes of its shape');
    }
    return array;
  };

  const known: Partial<Record<string, (args: unknown[]) => unknown>> = {
    'collections.OrderedDict': (args) => map(args),
    'collections.defaultdict': (args) => map(args, 1),
    'collections.Counter': (args) => map(args),
    'collections.deque': list,
    'torch.Size': list,
    'torch._utils._rebuild_tensor': (args) => tensor(args),
    'torch._utils._rebuild_tensor_v2': (args) => tensor(args),
    'torch._utils._rebuild_tensor_v3': (args) => tensor(args, torchDType(args[6])),
    'torch._utils._rebuild_parameter': first,
    'torch._utils._rebuild_parameter_with_state': first,
    'torch.nn.parameter.Parameter': first,
    ...Object.fromEntries(SCRIPTED_DATA.map((path) => [path, first])),
    'torch._tensor._rebuild_from_type_v2': ([make, , args]) => {
      const valid = make instanceof PyGlobal && Array.isArray(args);
      return valid ? call(make, args) : damaged('a tensor subclass is not valid');
    },
    'torch.serialization._get_layout': ([name]) => name,
    '_codecs.encode': ([text]) => toBytes(text) ?? damaged('encoded bytes are not text'),
    'numpy.dtype': ([code]) => new NumpyDType(typeof code === 'string' ? code : damaged('a numpy dtype is not text')),
    'numpy.core.multiarray._reconstruct': () => new NumpyArray(),
    'numpy.core.multiarray.scalar': ([type, bytes]) => numpyScalar(numpyArray([], type, bytes, false)),
    'numpy.core.numeric._frombuffer': ([bytes, type, shape, order]) => numpyArray(shape, type, bytes, order === 'F'),
    'copyreg._reconstructor': ([type]) =>
      type instanceof PyGlobal ? call(type, []) : damaged('an object has no class'),
    'copyreg.__newobj__': ([type, ...args]) =>
      type instanceof PyGlobal ? call(type, args) : damaged('an object has no class'),
  };

  let depth = 0;
  function call(callable: PyGlobal, args: unknown[]): unknown {
    if (isDangerous(callable)) {
      throw new InputError(
        `${what} asks to call ${shown(callable.path)}, which no honest checkpoint does: nothing was executed; delete the file and get it again from a source you trust.`,
      );
    }
    if (callable.module === 'builtins' || callable.module === '__builtin__') {
      if (callable.name === 'dict') return map(args);
      if (/^(list|tuple|set|frozenset)$/.test(callable.name)) return list(args);
      if (/^(bytes|bytearray)$/.test(callable.name)) return toBytes(args[0]) ?? new Uint8Array(0);
      if (/^(int|float|bool|str)$/.test(callable.name) && typeof args[0] !== 'object') return args[0] ?? null;
    }
    const path = callable.path.replace(/^numpy\._core\./, 'numpy.core.').replace(/^copy_reg\./, 'copyreg.');
    const make = Object.hasOwn(known, path) ? known[path] : undefined;
    if (!make) return new PyObject(callable, args);
    // A call may wrap another; honest ones do so once.
    if (++depth > 4) damaged('its calls are nested too deeply');
    const made = make(args);
    depth--;
    return made;
  }

  return {
    call,
    build(object, state) {
      if (object instanceof NumpyDType) {
        if (Array.isArray(state)) object.bigEndian = state[1] === '>';
      } else if (object instanceof NumpyArray) {
        if (!Array.isArray(state) || state.length !== 5) return damaged('a numpy array has no state');
        Object.assign(object, numpyArray(state[1], state[2], state[4], state[3] === true));
      } else if (object instanceof PyObject) {
        object.state = state;
      }
      // The state of an OrderedDict or of a parameter is module bookkeeping, not data.
    },
    persistent(id) {
      const [kind, type, key, , count, view] = Array.isArray(id) ? id : [];
      // Source code of a whole pickled model (legacy): only the class's name is of use.
      if (kind === 'module') return type;
      const isType = type instanceof PyGlobal && /^torch(\.cuda|\.storage)?$/.test(type.module);
      const dtype = isType ? STORAGE_DTYPES[type.name] : undefined;
      const untyped = isType && type.name === 'UntypedStorage';
      if (kind !== 'storage' || (!dtype && !untyped)) {
        return damaged(
          `its storage is of the unknown type ${type instanceof PyGlobal ? shown(type.path) : typeof type}`,
        );
      }
      if (typeof key !== 'string') return damaged('a storage has no key');
      const shift = Array.isArray(view) ? size(view[1]) : 0;
      return new StorageObject(key, dtype ?? null, size(Array.isArray(view) ? view[2] : count), shift);
    },
  };
}

/** The value of a numpy scalar; null where numbers cannot say it. */
function numpyScalar({ type, bytes }: NumpyArray): unknown {
  const dtype = type?.dtype;
  if (!type || !dtype || !bytes || dtype === 'float16' || dtype.startsWith('complex')) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const little = !type.bigEndian;
  if (dtype === 'bool') return bytes[0] !== 0;
  if (dtype === 'float32') return view.getFloat32(0, little);
  if (dtype === 'float64') return view.getFloat64(0, little);
  let value = 0n;
  for (let i = 0; i < bytes.length; i++) value = (value << 8n) | BigInt(bytes[little ? bytes.length - 1 - i : i]);
  if (dtype.startsWith('int')) value = BigInt.asIntN(bytes.length * 8, value);
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

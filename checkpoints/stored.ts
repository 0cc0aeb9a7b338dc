import { bytesOf, DTYPES, type DType, fromHalf } from '../core/dtype.js';
import { InputError } from '../core/errors.js';

/** Element types that a file may hold: those of tensors, and more that are converted on loading. */
export type StoredDType =
  | DType
  | 'int64'
  | 'int16'
  | 'int8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'complex64'
  | 'complex128'
  | 'float8_e4m3fn'
  | 'float8_e5m2';

const ITEM_BYTES: ReadonlyMap<string, number> = new Map([
  ...DTYPES.map((dtype) => [dtype, bytesOf(dtype)] as const),
  ...(Object.entries({
    int64: 8,
    int16: 2,
    int8: 1,
    uint16: 2,
    uint32: 4,
    uint64: 8,
    complex64: 8,
    complex128: 16,
    float8_e4m3fn: 1,
    float8_e5m2: 1,
  }) as [string, number][]),
]);

export function isStoredDType(name: string): name is StoredDType {
  return ITEM_BYTES.has(name);
}

/** Bytes of one element. */
export function itemBytes(dtype: StoredDType): number {
  return ITEM_BYTES.get(dtype)!;
}

/** Width of what changes with byte order: a complex number is two floats. */
export function swapWidth(dtype: StoredDType): number {
  return dtype.startsWith('complex') ? itemBytes(dtype) / 2 : itemBytes(dtype);
}

/** Elements of a shape; NaN where it is not a list of non-negative integers with an exact product. */
export function elementCount(shape: readonly unknown[]): number {
  let count = 1;
  let empty = false;
  for (const size of shape) {
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return Number.NaN;
    if (size === 0) empty = true;
    else count *= size;
    if (!Number.isSafeInteger(count)) return Number.NaN;
  }
  return empty ? 0 : count;
}

/** The bytes of any view, without a copy. */
export function bytesView(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** A view of `bytes` as elements of `width` bytes; copies when they do not lie on a boundary. */
function aligned(bytes: Uint8Array, width: number): { buffer: ArrayBufferLike; at: number; count: number } {
  const source = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
  return { buffer: source.buffer, at: source.byteOffset, count: Math.floor(bytes.byteLength / width) };
}

let halves: Float32Array | undefined;

/** All 65,536 values of a half: a table is some ten times faster than decoding each. */
function halfTable(): Float32Array {
  if (halves === undefined) {
    halves = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) halves[bits] = fromHalf(bits);
  }
  return halves;
}

const TWO_32 = 4294967296;

/**
 * Stored little-endian bytes as float32 values, in `into` or a fresh array. 64-bit values are rounded.
 * Throws InputError for complex and 8-bit float types; `what` names the tensor in it.
 */
export function decodeFloat32(
  bytes: Uint8Array,
  dtype: StoredDType,
  into?: Float32Array,
  what = 'the tensor',
): Float32Array {
  const { buffer, at, count } = aligned(bytes, Math.min(8, itemBytes(dtype)));
  const out = into ?? new Float32Array(count);
  if (out.length < count) throw new InputError(`${what}: ${count} values do not fit ${out.length}.`);
  const copy = (values: ArrayLike<number>): void => out.set(values);
  switch (dtype) {
    case 'float32':
      copy(new Float32Array(buffer, at, count));
      break;
    case 'float64':
      copy(new Float64Array(buffer, at, count));
      break;
    case 'float16': {
      const table = halfTable();
      const bits = new Uint16Array(buffer, at, count);
      for (let i = 0; i < count; i++) out[i] = table[bits[i]];
      break;
    }
    case 'bfloat16': {
      // A bfloat16 is the upper half of a float32.
      const words = new Uint32Array(out.buffer, out.byteOffset, count);
      const bits = new Uint16Array(buffer, at, count);
      for (let i = 0; i < count; i++) words[i] = bits[i] << 16;
      break;
    }
    case 'int64':
    case 'uint64': {
      const low = new Uint32Array(buffer, at, count * 2);
      const high = dtype === 'int64' ? new Int32Array(buffer, at, count * 2) : low;
      for (let i = 0; i < count; i++) out[i] = high[2 * i + 1] * TWO_32 + low[2 * i];
      break;
    }
    case 'complex64':
    case 'complex128':
    case 'float8_e4m3fn':
    case 'float8_e5m2':
      throw new InputError(
        `${what} is stored as ${dtype}; expected a real number type of 16 bits or more, or integers.`,
      );
    default:
      copy(integers(dtype, buffer, at, count));
  }
  return into === undefined ? out : out.subarray(0, count);
}

type SmallInteger = 'int32' | 'int16' | 'int8' | 'uint8' | 'uint16' | 'uint32' | 'bool';

function integers(dtype: SmallInteger, buffer: ArrayBufferLike, at: number, count: number): ArrayLike<number> {
  if (dtype === 'int32') return new Int32Array(buffer, at, count);
  if (dtype === 'int16') return new Int16Array(buffer, at, count);
  if (dtype === 'int8') return new Int8Array(buffer, at, count);
  if (dtype === 'uint16') return new Uint16Array(buffer, at, count);
  if (dtype === 'uint32') return new Uint32Array(buffer, at, count);
  return new Uint8Array(buffer, at, count);
}

/**
 * Stored little-endian bytes as int32 values, in `into` or a fresh array. Throws InputError when the type is not an
 * integer type or bool, or a value does not fit 32 bits; `what` names the tensor in it.
 */
export function decodeInt32(bytes: Uint8Array, dtype: StoredDType, into?: Int32Array, what = 'the tensor'): Int32Array {
  if (!/^(u?int|bool)/.test(dtype)) throw new InputError(`${what} is stored as ${dtype}; expected integers.`);
  const { buffer, at, count } = aligned(bytes, itemBytes(dtype));
  const out = into ?? new Int32Array(count);
  if (out.length < count) throw new InputError(`${what}: ${count} values do not fit ${out.length}.`);
  const refuse = (value: number | bigint): never => {
    throw new InputError(`${what} holds ${value}, which does not fit a 32-bit integer.`);
  };
  if (dtype === 'int64' || dtype === 'uint64') {
    const words = new Int32Array(buffer, at, count * 2);
    for (let i = 0; i < count; i++) {
      const low = words[2 * i];
      const high = words[2 * i + 1];
      if (high !== (dtype === 'int64' ? low >> 31 : 0) || (dtype === 'uint64' && low < 0)) {
        const value = (BigInt(high) << 32n) | BigInt(low >>> 0);
        refuse(dtype === 'int64' ? value : BigInt.asUintN(64, value));
      }
      out[i] = low;
    }
  } else {
    const values = integers(dtype as SmallInteger, buffer, at, count);
    if (dtype === 'uint32') {
      for (let i = 0; i < count; i++) if (values[i] > 0x7fffffff) refuse(values[i]);
    }
    out.set(values);
  }
  return into === undefined ? out : out.subarray(0, count);
}

/** Reverses the bytes of each `width`-byte item in place: big-endian files become little-endian. */
export function swapBytes(bytes: Uint8Array, width: number): void {
  for (let at = 0; at + width <= bytes.length; at += width) bytes.subarray(at, at + width).reverse();
}

import { InputError } from '../core/errors.js';
import type { ByteSource } from './source.js';
import { bytesView, decodeFloat32, decodeInt32, itemBytes, type StoredDType, swapBytes, swapWidth } from './stored.js';

/** Takes a piece of a tensor; the array is valid until it returns (or its Promise resolves). */
export type ChunkWriter = (bytes: Uint8Array, byteOffset: number) => void | Promise<void>;

/** One tensor of a checkpoint; its values stay in the file until asked for. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Bytes of the values, row by row without gaps. */
  readonly byteLength: number;
  /** All values, row-major, contiguous, little-endian; in `into` (it may view shared memory) or a fresh array. */
  read(into?: Uint8Array): Promise<Uint8Array>;
  /** The same bytes in order, in pieces of at most 4 MiB and whole elements, through two reused buffers. */
  stream(write: ChunkWriter): Promise<void>;
}

/** Where the values of a tensor lie in a source. */
export interface Placement {
  /** Byte offset of the first element. */
  offset: number;
  /** Elements from one index to the next, by dimension; absent when the values lie row by row without gaps. */
  strides?: readonly number[];
  /** The file was written on a big-endian machine. */
  bigEndian?: boolean;
}

/** A multiple of every item size, so that pieces hold whole elements. */
const CHUNK_BYTES = 4 << 20;

export class StoredTensor implements TensorEntry {
  readonly byteLength: number;
  // Hidden, so that an entry prints and serialises as its description.
  readonly #source: ByteSource;
  readonly #place: Placement;

  constructor(
    readonly name: string,
    readonly dtype: StoredDType,
    readonly shape: readonly number[],
    source: ByteSource,
    place: Placement,
  ) {
    this.byteLength = shape.reduce((a, b) => a * b, 1) * itemBytes(dtype);
    this.#source = source;
    const dense = place.strides && isContiguous(shape, place.strides);
    this.#place = dense ? { ...place, strides: undefined } : place;
  }

  async read(into?: Uint8Array): Promise<Uint8Array> {
    const size = this.byteLength;
    if (into && into.byteLength < size) {
      throw new InputError(`${this.name} holds ${size} bytes, which do not fit the ${into.byteLength} given.`);
    }
    const { offset, strides } = this.#place;
    if (size === 0) return into ? into.subarray(0, 0) : new Uint8Array(0);
    if (strides === undefined) return this.order(await this.#source.read(offset, size, into));
    const out = into ? into.subarray(0, size) : new Uint8Array(size);
    const width = itemBytes(this.dtype);
    gather(await this.readSpan(strides), this.shape, strides, width, 0, size / width, out);
    return this.order(out);
  }

  async stream(write: ChunkWriter): Promise<void> {
    const size = this.byteLength;
    if (size === 0) return;
    const width = itemBytes(this.dtype);
    const { offset, strides } = this.#place;
    const span = strides && (await this.readSpan(strides));
    const length = Math.min(CHUNK_BYTES, size);
    const buffers = [new Uint8Array(length), new Uint8Array(size > length ? length : 0)];
    const fill = async (at: number, buffer: Uint8Array): Promise<Uint8Array> => {
      const count = Math.min(length, size - at);
      const out = buffer.subarray(0, count);
      if (span && strides) gather(span, this.shape, strides, width, at / width, count / width, out);
      else await this.#source.read(offset + at, count, out);
      return this.order(out);
    };
    // The next piece is read while the last one is consumed.
    let next = fill(0, buffers[0]);
    for (let at = 0, turn = 1; at < size; at += length, turn ^= 1) {
      const chunk = await next;
      const ahead = at + length < size ? fill(at + length, buffers[turn]) : undefined;
      try {
        await write(chunk, at);
      } catch (error) {
        await ahead?.catch(() => {});
        throw error;
      }
      if (ahead) next = ahead;
    }
  }

  private readSpan(strides: readonly number[]): Promise<Uint8Array> {
    const last = this.shape.reduce((sum, size, i) => sum + (size - 1) * strides[i], 0);
    return this.#source.read(this.#place.offset, (last + 1) * itemBytes(this.dtype));
  }

  private order(bytes: Uint8Array): Uint8Array {
    const width = swapWidth(this.dtype);
    if (this.#place.bigEndian && width > 1) swapBytes(bytes, width);
    return bytes;
  }
}

/** An entry under another name. */
export function renamedEntry(entry: TensorEntry, name: string): TensorEntry {
  const { dtype, shape, byteLength } = entry;
  return { name, dtype, shape, byteLength, read: (into) => entry.read(into), stream: (write) => entry.stream(write) };
}

/** A float32 entry whose values are computed each time they are asked for. */
export function computedEntry(
  name: string,
  shape: readonly number[],
  compute: () => Promise<Float32Array>,
): TensorEntry {
  const byteLength = shape.reduce((a, b) => a * b, 1) * itemBytes('float32');
  const read = async (into?: Uint8Array): Promise<Uint8Array> => {
    const bytes = bytesView(await compute());
    if (into === undefined) return bytes;
    into.set(bytes);
    return into.subarray(0, bytes.length);
  };
  return { name, dtype: 'float32', shape, byteLength, read, stream: async (write) => write(await read(), 0) };
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i];
  }
  return true;
}

/** Copies `count` elements, from row-major index `start` on, of a strided view over `span` into `out`. */
function gather(
  span: Uint8Array,
  shape: readonly number[],
  strides: readonly number[],
  width: number,
  start: number,
  count: number,
  out: Uint8Array,
): void {
  const last = shape.length - 1;
  const index = shape.map(() => 0);
  let from = 0;
  for (let i = last, rest = start; i >= 0; i--) {
    index[i] = rest % shape[i];
    rest = Math.floor(rest / shape[i]);
    from += index[i] * strides[i];
  }
  const unit = width === 2 ? 2 : width === 1 ? 1 : 4;
  const aligned = (bytes: Uint8Array): boolean => bytes.byteOffset % unit === 0;
  // Moves 4 (or 2) bytes at once where both sides lie on such a boundary.
  const Words = unit === 4 ? Uint32Array : unit === 2 ? Uint16Array : Uint8Array;
  const fast = aligned(span) && aligned(out) && span.length % unit === 0;
  const view = (b: Uint8Array) =>
    fast ? new Words(b.buffer as ArrayBuffer, b.byteOffset, Math.floor(b.length / unit)) : b;
  const source = view(span);
  const result = view(out);
  const words = fast ? width / unit : width;
  const inner = strides[last] * words;
  for (let done = 0; done < count; ) {
    const run = Math.min(count - done, shape[last] - index[last]);
    let s = from * words;
    let r = done * words;
    for (let i = 0; i < run; i++, s += inner, r += words) {
      for (let w = 0; w < words; w++) result[r + w] = source[s + w];
    }
    done += run;
    from += run * strides[last];
    index[last] += run;
    for (let i = last; i > 0 && index[i] === shape[i]; i--) {
      from += strides[i - 1] - shape[i] * strides[i];
      index[i] = 0;
      index[i - 1]++;
    }
  }
}

/**
 * The values of a tensor as float32, in `into` (length at least its element count; it may view shared memory) or a
 * fresh array. float16, bfloat16, float64 and integers are converted piece by piece.
 */
export async function readFloat32(entry: TensorEntry, into?: Float32Array): Promise<Float32Array> {
  const count = entry.byteLength / itemBytes(entry.dtype);
  const out = into ?? new Float32Array(count);
  if (out.length < count) throw new InputError(`${entry.name} holds ${count} values, which do not fit ${out.length}.`);
  const values = out.subarray(0, count);
  if (entry.dtype === 'float32') await entry.read(bytesView(values));
  else await convert(entry, values, decodeFloat32);
  return values;
}

/** The values of an integer or bool tensor as int32; throws InputError for a value that does not fit. */
export async function readInt32(entry: TensorEntry, into?: Int32Array): Promise<Int32Array> {
  const count = entry.byteLength / itemBytes(entry.dtype);
  const out = into ?? new Int32Array(count);
  if (out.length < count) throw new InputError(`${entry.name} holds ${count} values, which do not fit ${out.length}.`);
  const values = out.subarray(0, count);
  if (entry.dtype === 'int32') await entry.read(bytesView(values));
  else await convert(entry, values, decodeInt32);
  return values;
}

async function convert<T extends { subarray(from: number, to: number): T }>(
  entry: TensorEntry,
  values: T,
  decode: (bytes: Uint8Array, dtype: StoredDType, into: T, what: string) => T,
): Promise<void> {
  const width = itemBytes(entry.dtype);
  await entry.stream((bytes, at) => {
    decode(bytes, entry.dtype, values.subarray(at / width, (at + bytes.length) / width), entry.name);
  });
}

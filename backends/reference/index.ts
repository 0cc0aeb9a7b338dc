/**
 * The oracle: every op runs as its plain definition, in float64, over ndarrays. Readable and exact rather than fast;
 * it has no kernels, so nothing here can approximate.
 */
import ndarray, { type NdArray } from 'ndarray';
import type { Backend, Block, Kernel, Stats, View } from '../../core/backend.js';
import {
  bytesOf,
  DTYPES,
  type DType,
  fromBfloat,
  fromHalf,
  type TypedArray,
  toBfloat,
  toHalf,
  typedArray,
} from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import { sizeOf } from '../../core/layout.js';

interface HostBlock extends Block {
  readonly memory: ArrayBuffer;
}

/** An ndarray store for 16-bit floats: values outside, bit patterns inside. */
class Packed16 {
  constructor(
    readonly bits: Uint16Array,
    readonly unpack: (bits: number) => number,
    readonly pack: (value: number) => number,
  ) {}
  get length(): number {
    return this.bits.length;
  }
  get(i: number): number {
    return this.unpack(this.bits[i]);
  }
  set(i: number, value: number): void {
    this.bits[i] = this.pack(value);
  }
}

type Store = TypedArray | Packed16;

/** Rounded up, so that every dtype can view the whole block. */
function memoryFor(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(Math.ceil(bytes / 8) * 8);
  } catch {
    throw new InputError(
      `The reference backend got no memory for ${Math.ceil(bytes / 2 ** 20)} MB; use a smaller model, batch or image.`,
    );
  }
}

function memoryOf(block: Block): ArrayBuffer {
  return (block as HostBlock).memory;
}

/** The ndarray that a view describes. */
function asNdarray(view: View): NdArray<Float64Array> {
  const memory = memoryOf(view.block);
  const raw = typedArray(view.dtype, memory, 0, Math.floor(memory.byteLength / bytesOf(view.dtype)));
  let store: Store = raw;
  if (view.dtype === 'float16') store = new Packed16(raw as Uint16Array, fromHalf, toHalf);
  if (view.dtype === 'bfloat16') store = new Packed16(raw as Uint16Array, fromBfloat, toBfloat);
  // ndarray takes any store with length, get and set; its types only know arrays.
  return ndarray(store as Float64Array, [...view.shape], [...view.strides], view.offset);
}

/** Calls `visit` for every index of a shape, in row-major order. */
function forEachIndex(shape: readonly number[], visit: (index: number[], position: number) => void): void {
  const size = sizeOf(shape);
  const index = new Array<number>(shape.length).fill(0);
  for (let position = 0; position < size; position++) {
    visit(index, position);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

function load(view: View): Float64Array {
  const array = asNdarray(view);
  const out = new Float64Array(sizeOf(view.shape));
  forEachIndex(view.shape, (index, position) => {
    out[position] = array.get(...index);
  });
  return out;
}

function store(view: View, values: Float64Array): void {
  const array = asNdarray(view);
  const convert = view.dtype === 'bool' ? (v: number) => (v !== 0 ? 1 : 0) : (v: number) => v;
  forEachIndex(view.shape, (index, position) => {
    array.set(...([...index, convert(values[position])] as [number]));
  });
}

export async function createBackend(): Promise<Backend> {
  const stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  return {
    name: 'reference',
    // 16-bit floats are computed in float32, as everywhere: a decomposition rounds its results only.
    caps: { dtypes: new Set<DType>(DTYPES), storageOnly: new Set<DType>(['float16', 'bfloat16']) },
    kernels: new Map<string, Kernel>(),
    stats,
    compile: () => null,
    alloc(bytes: number): HostBlock {
      const memory = memoryFor(bytes);
      stats.liveBytes += bytes;
      stats.liveBlocks++;
      stats.peakBytes = Math.max(stats.peakBytes, stats.liveBytes);
      return { bytes, memory };
    },
    free(block: Block): void {
      stats.liveBytes -= block.bytes;
      stats.liveBlocks--;
    },
    write(block: Block, byteOffset: number, bytes: Uint8Array): void {
      new Uint8Array(memoryOf(block), byteOffset, bytes.byteLength).set(bytes);
    },
    async read(block: Block, byteOffset: number, byteLength: number): Promise<Uint8Array> {
      return new Uint8Array(memoryOf(block).slice(byteOffset, byteOffset + byteLength));
    },
    copy(from: View, to: View): void {
      store(to, load(from));
      stats.launches++;
    },
    host: {
      load,
      store,
      array: (block: Block, dtype: DType, byteOffset: number, length: number) =>
        typedArray(dtype, memoryOf(block), byteOffset, length),
    },
    sync: async () => {},
    dispose: async () => {},
  };
}

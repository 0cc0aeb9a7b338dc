import type { Backend, Block, View } from './backend.js';
import { defaultBackend } from './device.js';
import {
  bytesOf,
  type DType,
  fromBfloat,
  fromHalf,
  isFloat,
  type TypedArray,
  toBfloat,
  toHalf,
  typedArray,
} from './dtype.js';
import { InputError, OpError } from './errors.js';
import { contiguousStrides, expectSizes, formatShape, isContiguous, kindOf, type Layout, sizeOf } from './layout.js';
import { keep, residence, Storage, track } from './memory.js';
import { watching } from './watch.js';

/** What autograd hangs on a tensor: the recorded call that made it. */
export interface GradientNode {
  retain(): void;
  release(): void;
}

/**
 * A strided array on a backend. Operations are methods (`a.add(b)`) and functions (`add(a, b)`); they are synchronous
 * and enqueue work, reading values is a Promise. Views share storage; `dispose()` or a surrounding `scope` frees it.
 */
export class Tensor {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** Whether gradients flow into this tensor. */
  requiresGrad = false;
  /** Accumulated gradient of a leaf, set by backward. */
  grad: Tensor | null = null;
  /** The recorded call of which this is an output; null for leaves. */
  node: GradientNode | null = null;
  /** Which output of `node`. */
  output = 0;
  #disposed = false;

  constructor(
    readonly storage: Storage,
    readonly dtype: DType,
    layout: Layout,
  ) {
    this.shape = layout.shape;
    this.strides = layout.strides;
    this.offset = layout.offset;
    storage.retain();
    track(this);
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get backend(): Backend {
    return this.storage.backend;
  }

  get isContiguous(): boolean {
    return isContiguous(this);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** The strided array that kernels see. Throws when the tensor was freed. */
  view(): View {
    if (this.#disposed) {
      throw new OpError('tensor', `${this} was used after it was freed; return it from its scope or keep(tensor) it`);
    }
    return {
      block: this.storage.block,
      dtype: this.dtype,
      shape: this.shape,
      strides: this.strides,
      offset: this.offset,
    };
  }

  /** A second handle on the same elements, without history. */
  detach(): Tensor {
    this.view();
    return new Tensor(this.storage, this.dtype, this);
  }

  /** Marks a leaf as one that collects gradients; returns itself. */
  requireGrad(on = true): this {
    if (on && !isFloat(this.dtype)) throw new OpError('requireGrad', `expected a float dtype, got ${this.dtype}`);
    this.requiresGrad = on;
    return this;
  }

  /** Frees this handle, its gradient and, with the last handle, the memory. Freeing twice does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.storage.release();
    this.grad?.dispose();
    this.grad = null;
    this.node?.release();
    this.node = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The values in row-major order; float16 and bfloat16 come as Float32Array. */
  data(): Promise<Float32Array | Float64Array | Int32Array | Uint8Array> {
    refuseReading('data');
    return this.#read();
  }

  async #read(): Promise<Float32Array | Float64Array | Int32Array | Uint8Array> {
    // Freed memory may hold another tensor already.
    this.view();
    const source = compact(this);
    // The offset of an empty view may lie past the end.
    const start = this.size === 0 ? 0 : source.offset * bytesOf(this.dtype);
    try {
      const bytes = await this.backend.read(source.storage.block, start, this.size * bytesOf(this.dtype));
      const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
      return decode(this.dtype, typedArray(this.dtype, aligned.buffer, aligned.byteOffset, this.size));
    } finally {
      if (source !== this) source.dispose();
    }
  }

  /** The value of a tensor of one element. */
  item(): Promise<number> {
    refuseReading('item');
    return this.#one();
  }

  async #one(): Promise<number> {
    if (this.size !== 1) throw new OpError('item', `expected one element, got ${this}`);
    return (await this.#read())[0];
  }

  /** The values as nested arrays (a number for rank 0). */
  toArray(): Promise<NestedArray> {
    refuseReading('toArray');
    return this.#nested();
  }

  async #nested(): Promise<NestedArray> {
    const flat = await this.#read();
    const build = (axis: number, at: number): NestedArray => {
      if (axis === this.rank) return flat[at];
      const step = sizeOf(this.shape.slice(axis + 1));
      return Array.from({ length: this.shape[axis] }, (_, i) => build(axis + 1, at + i * step));
    };
    return build(0, 0);
  }

  /** dtype and shape, as error messages show them. */
  toString(): string {
    return `${this.dtype}${formatShape(this.shape)}`;
  }

  /** The same for JSON, which would else walk through the whole backend. */
  toJSON(): string {
    return this.toString();
  }

  /** The same for `console.log` in Node; `await x.toArray()` gives the values. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Tensor ${this}${this.#disposed ? ' (freed)' : ` on ${this.backend.name}`}`;
  }
}

export type NestedArray = number | NestedArray[];

/** At once, and not as a rejection that a step which is being captured could never wait for. */
function refuseReading(what: string): void {
  const error = watching()?.reading(what);
  if (error) throw error;
}

/** The tensor itself when its elements lie in order, else a compact copy that the caller frees. */
export function compact(x: Tensor): Tensor {
  if (isContiguous(x)) return x;
  const copy = keep(empty(x.shape, x.dtype, x.backend));
  x.backend.copy(x.view(), copy.view());
  return copy;
}

function decode(dtype: DType, raw: TypedArray): Float32Array | Float64Array | Int32Array | Uint8Array {
  const unpack = dtype === 'float16' ? fromHalf : dtype === 'bfloat16' ? fromBfloat : null;
  if (unpack) {
    // A plain loop: TypedArray.from with a function is many times slower.
    const out = new Float32Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = unpack(raw[i]);
    return out;
  }
  return raw as Float32Array | Float64Array | Int32Array | Uint8Array;
}

/** A tensor of unspecified content. */
export function empty(shape: readonly number[], dtype: DType, backend: Backend = defaultBackend()): Tensor {
  if (!backend.caps.dtypes.has(dtype)) {
    throw new InputError(
      `The ${backend.name} backend has no ${dtype}; use one of ${[...backend.caps.dtypes].join(', ')}.`,
    );
  }
  expectSizes('empty', shape);
  const block: Block = backend.alloc(sizeOf(shape) * bytesOf(dtype), residence());
  return new Tensor(new Storage(backend, block), dtype, {
    shape: [...shape],
    strides: contiguousStrides(shape),
    offset: 0,
  });
}

export interface TensorOptions {
  readonly shape?: readonly number[];
  readonly dtype?: DType;
  readonly backend?: Backend;
  readonly requiresGrad?: boolean;
}

/**
 * A tensor with the given values: a number, nested arrays of equal lengths, or a typed array with `shape`.
 * The dtype defaults to the typed array's own, else float32. Throws OpError for anything that is no number.
 */
export function tensor(values: NestedArray | TypedArray | readonly number[], options: TensorOptions = {}): Tensor {
  const flat: number[] | TypedArray = ArrayBuffer.isView(values)
    ? (values as TypedArray)
    : flatten(values as NestedArray);
  // Neither has numbers one by one.
  if (typeof flat.length !== 'number' || typeof flat[0] === 'bigint')
    throw new OpError('tensor', `expected numbers, got ${kindOf(values)}`);
  const shape = options.shape ?? (ArrayBuffer.isView(values) ? [flat.length] : shapeOf(values as NestedArray));
  expectSizes('tensor', shape);
  if (sizeOf(shape) !== flat.length) {
    throw new OpError(
      'tensor',
      `expected ${sizeOf(shape)} values for the shape ${formatShape(shape)}, got ${flat.length}`,
    );
  }
  const dtype = options.dtype ?? dtypeOf(values);
  const result = empty(shape, dtype, options.backend);
  const raw = encode(dtype, flat);
  const bytes = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
  watching()?.values(bytes);
  result.backend.write(result.storage.block, 0, bytes);
  return options.requiresGrad ? result.requireGrad() : result;
}

function encode(dtype: DType, flat: ArrayLike<number>): TypedArray {
  const native = typedArray(dtype, new ArrayBuffer(0), 0, 0).constructor;
  if (flat.constructor === native && dtype !== 'float16' && dtype !== 'bfloat16' && dtype !== 'bool')
    return flat as TypedArray;
  const out = typedArray(dtype, new ArrayBuffer(flat.length * bytesOf(dtype)), 0, flat.length);
  const convert =
    dtype === 'float16'
      ? toHalf
      : dtype === 'bfloat16'
        ? toBfloat
        : dtype === 'bool'
          ? (v: number) => (v ? 1 : 0)
          : null;
  if (convert === null) out.set(flat);
  else for (let i = 0; i < flat.length; i++) out[i] = convert(flat[i]);
  return out;
}

function dtypeOf(values: unknown): DType {
  if (values instanceof Float64Array) return 'float64';
  if (values instanceof Int32Array) return 'int32';
  if (values instanceof Uint8Array) return 'uint8';
  return 'float32';
}

function shapeOf(values: NestedArray): number[] {
  const shape: number[] = [];
  for (let v = values; Array.isArray(v); v = v[0]) {
    shape.push(v.length);
    if (v.length === 0) break;
  }
  return shape;
}

function flatten(values: NestedArray): number[] {
  const shape = shapeOf(values);
  const out: number[] = [];
  const visit = (v: NestedArray, axis: number): void => {
    if (!Array.isArray(v)) {
      if (axis !== shape.length) throw new OpError('tensor', 'expected nested arrays of equal depth');
      if (typeof v !== 'number' && typeof v !== 'boolean')
        throw new OpError('tensor', `expected numbers, got ${kindOf(v)}`);
      out.push(v);
      return;
    }
    if (v.length !== shape[axis]) throw new OpError('tensor', 'expected nested arrays of equal lengths');
    for (const inner of v) visit(inner, axis + 1);
  };
  visit(values, 0);
  return out;
}

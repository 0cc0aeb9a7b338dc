/** Plain loops over the wasm memory from JavaScript. */
import type { View } from '../../core/backend.js';
import {
  bytesOf,
  type DType,
  fromBfloat,
  fromHalf,
  type TypedArray,
  toBfloat,
  toHalf,
  typedArray,
} from '../../core/dtype.js';
import { isContiguous, sizeOf } from '../../core/layout.js';
import type { Heap } from './memory/heap.js';

function arrayOf(heap: Heap, dtype: DType): TypedArray {
  const buffer = heap.memory.buffer;
  return typedArray(dtype, buffer, 0, Math.floor(buffer.byteLength / bytesOf(dtype)));
}

/** Calls `visit` with the position of every element in the memory, in row-major order. */
function forEachElement(view: View, start: number, visit: (position: number) => void): void {
  const size = sizeOf(view.shape);
  if (isContiguous(view)) {
    for (let i = 0; i < size; i++) visit(start + i);
    return;
  }
  const { shape, strides } = view;
  const index = new Array<number>(shape.length).fill(0);
  let position = start;
  for (let i = 0; i < size; i++) {
    visit(position);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      position += strides[axis];
      if (++index[axis] < shape[axis]) break;
      position -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

const DECODERS: Partial<Record<DType, (bits: number) => number>> = { float16: fromHalf, bfloat16: fromBfloat };
const ENCODERS: Partial<Record<DType, (value: number) => number>> = {
  float16: toHalf,
  bfloat16: toBfloat,
  bool: (x) => (x !== 0 ? 1 : 0),
};

/** The elements in row-major order. */
export function load(heap: Heap, view: View, address: number): Float64Array {
  const source = arrayOf(heap, view.dtype);
  const decode = DECODERS[view.dtype];
  const out = new Float64Array(sizeOf(view.shape));
  let i = 0;
  forEachElement(view, address / bytesOf(view.dtype), (p) => {
    out[i++] = decode ? decode(source[p]) : source[p];
  });
  return out;
}

/** The inverse of load. */
export function store(heap: Heap, view: View, address: number, values: Float64Array): void {
  const target = arrayOf(heap, view.dtype);
  const encode = ENCODERS[view.dtype];
  let i = 0;
  forEachElement(view, address / bytesOf(view.dtype), (p) => {
    const x = values[i++];
    target[p] = encode ? encode(x) : x;
  });
}

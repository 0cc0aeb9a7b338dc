/** Plain loops over the wasm memory from JavaScript. */
import type { View } from '../../core/backend.js';
import { bytesOf, DECODERS, type DType, ENCODERS, type TypedArray, typedArray } from '../../core/dtype.js';
import { forEachElement, sizeOf } from '../../core/layout.js';
import type { Heap } from './memory/heap.js';

function arrayOf(heap: Heap, dtype: DType): TypedArray {
  const buffer = heap.memory.buffer;
  return typedArray(dtype, buffer, 0, Math.floor(buffer.byteLength / bytesOf(dtype)));
}

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

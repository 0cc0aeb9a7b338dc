/** Plain loops over a block's bytes. */
import type { View } from '../../core/backend.js';
import { bytesOf, DECODERS, ENCODERS, typedArray } from '../../core/dtype.js';
import { forEachElement, sizeOf } from '../../core/layout.js';

const elementsOf = (view: View, memory: ArrayBuffer) =>
  typedArray(view.dtype, memory, 0, Math.floor(memory.byteLength / bytesOf(view.dtype)));

/** The elements in row-major order. */
export function load(view: View, memory: ArrayBuffer): Float64Array {
  const source = elementsOf(view, memory);
  const decode = DECODERS[view.dtype];
  const out = new Float64Array(sizeOf(view.shape));
  let i = 0;
  forEachElement(view, view.offset, (p) => {
    out[i++] = decode ? decode(source[p]) : source[p];
  });
  return out;
}

/** The inverse of load. */
export function store(view: View, memory: ArrayBuffer, values: Float64Array): void {
  const target = elementsOf(view, memory);
  const encode = ENCODERS[view.dtype];
  let i = 0;
  forEachElement(view, view.offset, (p) => {
    const x = values[i++];
    target[p] = encode ? encode(x) : x;
  });
}

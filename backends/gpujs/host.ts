/** Plain loops over a block's bytes. */
import type { View } from '../../core/backend.js';
import { bytesOf, type DType, fromBfloat, fromHalf, toBfloat, toHalf, typedArray } from '../../core/dtype.js';
import { isContiguous, sizeOf } from '../../core/layout.js';

/** Calls `visit` with the position of every element, in row-major order. */
function forEachElement(view: View, visit: (position: number) => void): void {
  const { shape, strides } = view;
  const size = sizeOf(shape);
  let position = view.offset;
  if (isContiguous(view)) {
    for (let i = 0; i < size; i++) visit(position++);
    return;
  }
  const index = new Array<number>(shape.length).fill(0);
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

const elementsOf = (view: View, memory: ArrayBuffer) =>
  typedArray(view.dtype, memory, 0, Math.floor(memory.byteLength / bytesOf(view.dtype)));

/** The elements in row-major order. */
export function load(view: View, memory: ArrayBuffer): Float64Array {
  const source = elementsOf(view, memory);
  const decode = DECODERS[view.dtype];
  const out = new Float64Array(sizeOf(view.shape));
  let i = 0;
  forEachElement(view, (p) => {
    out[i++] = decode ? decode(source[p]) : source[p];
  });
  return out;
}

/** The inverse of load. */
export function store(view: View, memory: ArrayBuffer, values: Float64Array): void {
  const target = elementsOf(view, memory);
  const encode = ENCODERS[view.dtype];
  let i = 0;
  forEachElement(view, (p) => {
    const x = values[i++];
    target[p] = encode ? encode(x) : x;
  });
}

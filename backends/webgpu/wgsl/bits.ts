/** Elements as bits, for kernels that only move them: any dtype, no rounding, no NaN that changes. */
import { bytesOf, type DType } from '../../../core/dtype.js';

/** The dtype of the same width whose elements `storeElements` packs as they are. */
export function bitsOf(dtype: DType): 'int32' | 'bfloat16' | 'uint8' {
  const size = bytesOf(dtype);
  return size === 4 ? 'int32' : size === 2 ? 'bfloat16' : 'uint8';
}

/** `fn load_<name>(i: u32) -> u32`: the bits of element i of the `array<u32>` of that name. */
export function bitsLoader(name: string, dtype: DType): string {
  const size = bytesOf(dtype);
  const body =
    size === 4
      ? `${name}[i]`
      : size === 2
        ? `(${name}[i >> 1u] >> (16u * (i & 1u))) & 0xffffu`
        : `(${name}[i >> 2u] >> (8u * (i & 3u))) & 0xffu`;
  return `fn load_${name}(i: u32) -> u32 { return ${body}; }`;
}

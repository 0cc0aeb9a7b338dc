/** Element types. float16 and bfloat16 are storage types: arithmetic on them happens in float32. */
export type DType = 'float32' | 'float64' | 'float16' | 'bfloat16' | 'int32' | 'uint8' | 'bool';

export type TypedArray = Float32Array | Float64Array | Uint16Array | Int32Array | Uint8Array;

/** Array classes that hold each dtype; float16 and bfloat16 are held as their bit patterns. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

export const DTYPES = Object.keys(ARRAYS) as readonly DType[];

/** Bytes of one element. */
export function bytesOf(dtype: DType): number {
  return ARRAYS[dtype].BYTES_PER_ELEMENT;
}

/** A typed array over `length` elements of `buffer`; float16 and bfloat16 come as bit patterns. */
export function typedArray(dtype: DType, buffer: ArrayBufferLike, byteOffset: number, length: number): TypedArray {
  return new ARRAYS[dtype](buffer as ArrayBuffer, byteOffset, length);
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64' || dtype === 'float16' || dtype === 'bfloat16';
}

const RANK: Record<DType, number> = { bool: 0, uint8: 1, int32: 2, float16: 3, bfloat16: 4, float32: 5, float64: 6 };

/** The dtype in which two operands meet; float16 with bfloat16 meet in float32, as in PyTorch. */
export function promote(a: DType, b: DType): DType {
  if ((a === 'float16' && b === 'bfloat16') || (a === 'bfloat16' && b === 'float16')) return 'float32';
  return RANK[a] >= RANK[b] ? a : b;
}

const scratch = new DataView(new ArrayBuffer(4));

/** float32 value -> IEEE half bits, rounding to nearest even. */
export function toHalf(value: number): number {
  scratch.setFloat32(0, value);
  const x = scratch.getUint32(0);
  const sign = (x >>> 16) & 0x8000;
  const abs = x & 0x7fffffff;
  if (abs >= 0x7f800000) return sign | 0x7c00 | (abs > 0x7f800000 ? 0x200 : 0);
  if (abs >= 0x477ff000) return sign | 0x7c00;
  if (abs < 0x38800000) {
    // Subnormal half: the float32 sum with 0.5 leaves the rounded mantissa in the low bits.
    scratch.setUint32(0, abs);
    scratch.setFloat32(0, scratch.getFloat32(0) + 0.5);
    return sign | (scratch.getUint32(0) - 0x3f000000);
  }
  return sign | ((abs - 0x38000000 + 0xfff + ((abs >>> 13) & 1)) >>> 13);
}

/** IEEE half bits -> value. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** float32 value -> bfloat16 bits, rounding to nearest even. */
export function toBfloat(value: number): number {
  scratch.setFloat32(0, value);
  const x = scratch.getUint32(0);
  if ((x & 0x7fffffff) > 0x7f800000) return (x >>> 16) | 0x40;
  return (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
}

/** bfloat16 bits -> value. */
export function fromBfloat(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** From an element in memory to its value, where they differ. */
export const DECODERS: Partial<Record<DType, (bits: number) => number>> = { float16: fromHalf, bfloat16: fromBfloat };
/** From a value to the element in memory, where they differ. */
export const ENCODERS: Partial<Record<DType, (value: number) => number>> = {
  float16: toHalf,
  bfloat16: toBfloat,
  bool: (x) => (x !== 0 ? 1 : 0),
};

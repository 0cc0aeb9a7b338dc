/** Typed WebAssembly expressions: a value is the instruction bytes that leave it on the stack. */
export type Type = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

/** An expression. Every use emits its instructions again; keep it in a local (`f.let`) to use it twice. */
export interface Value<T extends Type = Type> {
  readonly type: T;
  readonly code: readonly number[];
}

/** A local variable, readable as a value. */
export interface Local<T extends Type = Type> extends Value<T> {
  readonly index: number;
}

export type I32 = Value<'i32'> | number;
export type I64 = Value<'i64'>;
export type F32 = Value<'f32'> | number;
export type F64 = Value<'f64'> | number;
export type V128 = Value<'v128'>;

export const TYPE_CODES: Record<Type, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** Unsigned LEB128. */
export function unsigned(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    out.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return out;
}

/** Signed LEB128 of an integer of up to 64 bits. */
export function signed(value: number | bigint): number[] {
  const out: number[] = [];
  let rest = BigInt(value);
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) return [...out, low];
    out.push(low | 0x80);
  }
}

const scratch = new DataView(new ArrayBuffer(8));

export function f32Bytes(value: number): number[] {
  scratch.setFloat32(0, value, true);
  return [0, 1, 2, 3].map((i) => scratch.getUint8(i));
}

export function f64Bytes(value: number): number[] {
  scratch.setFloat64(0, value, true);
  return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => scratch.getUint8(i));
}

export function i32Bytes(value: number): number[] {
  scratch.setInt32(0, value, true);
  return [0, 1, 2, 3].map((i) => scratch.getUint8(i));
}

export function value<T extends Type>(type: T, ...parts: readonly (readonly number[])[]): Value<T> {
  return { type, code: parts.flat() };
}

export const toI32 = (x: I32): Value<'i32'> => (typeof x === 'number' ? value('i32', [0x41], signed(x | 0)) : x);
export const toF32 = (x: F32): Value<'f32'> => (typeof x === 'number' ? value('f32', [0x43], f32Bytes(x)) : x);
export const toF64 = (x: F64): Value<'f64'> => (typeof x === 'number' ? value('f64', [0x44], f64Bytes(x)) : x);
export const constI64 = (x: bigint): Value<'i64'> => value('i64', [0x42], signed(BigInt.asIntN(64, x)));

/** Scalar instructions as functions over values; plain numbers stand for constants. */
import {
  constI64,
  type F32,
  type F64,
  type I32,
  type I64,
  type Type,
  toF32,
  toF64,
  toI32,
  unsigned,
  type V128,
  type Value,
  value,
} from './values.js';

/** The alignment and offset immediate of a memory access. */
export const memarg = (align: number, offset: number): number[] => [align, ...unsigned(offset)];

const load =
  <T extends Type>(type: T, opcode: number, align: number) =>
  (address: I32, offset = 0): Value<T> =>
    value(type, toI32(address).code, [opcode], memarg(align, offset));

const i32Binary =
  (opcode: number) =>
  (x: I32, y: I32): Value<'i32'> =>
    value('i32', toI32(x).code, toI32(y).code, [opcode]);
const i64Binary =
  (opcode: number) =>
  (x: I64, y: I64): Value<'i64'> =>
    value('i64', x.code, y.code, [opcode]);
const f32Binary =
  (opcode: number) =>
  (x: F32, y: F32): Value<'f32'> =>
    value('f32', toF32(x).code, toF32(y).code, [opcode]);
const f32Compare =
  (opcode: number) =>
  (x: F32, y: F32): Value<'i32'> =>
    value('i32', toF32(x).code, toF32(y).code, [opcode]);
const f64Binary =
  (opcode: number) =>
  (x: F64, y: F64): Value<'f64'> =>
    value('f64', toF64(x).code, toF64(y).code, [opcode]);

export const i32 = {
  const: toI32,
  load: load('i32', 0x28, 2),
  load8u: load('i32', 0x2d, 0),
  load16u: load('i32', 0x2f, 1),
  eqz: (x: I32): Value<'i32'> => value('i32', toI32(x).code, [0x45]),
  eq: i32Binary(0x46),
  ne: i32Binary(0x47),
  lt: i32Binary(0x48),
  ltU: i32Binary(0x49),
  gt: i32Binary(0x4a),
  le: i32Binary(0x4c),
  ge: i32Binary(0x4e),
  add: i32Binary(0x6a),
  sub: i32Binary(0x6b),
  mul: i32Binary(0x6c),
  divU: i32Binary(0x6e),
  remU: i32Binary(0x70),
  and: i32Binary(0x71),
  or: i32Binary(0x72),
  xor: i32Binary(0x73),
  shl: i32Binary(0x74),
  shrS: i32Binary(0x75),
  shrU: i32Binary(0x76),
  wrap: (x: I64): Value<'i32'> => value('i32', x.code, [0xa7]),
  truncSat: (x: F32): Value<'i32'> => value('i32', toF32(x).code, [0xfc, 0]),
  select: (test: I32, yes: I32, no: I32): Value<'i32'> =>
    value('i32', toI32(yes).code, toI32(no).code, toI32(test).code, [0x1b]),
  min: (x: Value<'i32'>, y: I32): Value<'i32'> => i32.select(i32.lt(x, y), x, y),
  /** First lane index `lane` of an integer vector. */
  lane: (x: V128, lane: number): Value<'i32'> => value('i32', x.code, [0xfd, 27, lane]),
  atomicAdd: (address: I32, amount: I32): Value<'i32'> =>
    value('i32', toI32(address).code, toI32(amount).code, [0xfe, 0x1e], memarg(2, 0)),
  atomicLoad: (address: I32): Value<'i32'> => value('i32', toI32(address).code, [0xfe, 0x10], memarg(2, 0)),
} as const;

export const i64 = {
  const: constI64,
  load: load('i64', 0x29, 3),
  add: i64Binary(0x7c),
  mul: i64Binary(0x7e),
  and: i64Binary(0x83),
  xor: i64Binary(0x85),
  shl: i64Binary(0x86),
  shrU: i64Binary(0x88),
  extendU: (x: I32): Value<'i64'> => value('i64', toI32(x).code, [0xad]),
} as const;

export const f32 = {
  const: toF32,
  load: load('f32', 0x2a, 2),
  eq: f32Compare(0x5b),
  ne: f32Compare(0x5c),
  lt: f32Compare(0x5d),
  gt: f32Compare(0x5e),
  abs: (x: F32): Value<'f32'> => value('f32', toF32(x).code, [0x8b]),
  sqrt: (x: F32): Value<'f32'> => value('f32', toF32(x).code, [0x91]),
  add: f32Binary(0x92),
  sub: f32Binary(0x93),
  mul: f32Binary(0x94),
  div: f32Binary(0x95),
  min: f32Binary(0x96),
  max: f32Binary(0x97),
  convert: (x: I32): Value<'f32'> => value('f32', toI32(x).code, [0xb2]),
  demote: (x: F64): Value<'f32'> => value('f32', toF64(x).code, [0xb6]),
  lane: (x: V128, lane: number): Value<'f32'> => value('f32', x.code, [0xfd, 31, lane]),
  select: (test: I32, yes: F32, no: F32): Value<'f32'> =>
    value('f32', toF32(yes).code, toF32(no).code, toI32(test).code, [0x1b]),
} as const;

export const f64 = {
  const: toF64,
  load: load('f64', 0x2b, 3),
  sqrt: (x: F64): Value<'f64'> => value('f64', toF64(x).code, [0x9f]),
  add: f64Binary(0xa0),
  sub: f64Binary(0xa1),
  mul: f64Binary(0xa2),
  div: f64Binary(0xa3),
  promote: (x: F32): Value<'f64'> => value('f64', toF32(x).code, [0xbb]),
  lane: (x: V128, lane: number): Value<'f64'> => value('f64', x.code, [0xfd, 33, lane]),
} as const;

/** 128-bit vector instructions as functions over values. */
import { memarg } from './scalar.js';
import {
  type F32,
  f32Bytes,
  type I32,
  i32Bytes,
  toF32,
  toI32,
  unsigned,
  type V128,
  type Value,
  value,
} from './values.js';

const op = (opcode: number): number[] => [0xfd, ...unsigned(opcode)];

const unary =
  (opcode: number) =>
  (x: V128): Value<'v128'> =>
    value('v128', x.code, op(opcode));
const binary =
  (opcode: number) =>
  (x: V128, y: V128): Value<'v128'> =>
    value('v128', x.code, y.code, op(opcode));
const shift =
  (opcode: number) =>
  (x: V128, bits: I32): Value<'v128'> =>
    value('v128', x.code, toI32(bits).code, op(opcode));
const load =
  (opcode: number, align: number) =>
  (address: I32, offset = 0): Value<'v128'> =>
    value('v128', toI32(address).code, op(opcode), memarg(align, offset));
const loadLane =
  (opcode: number, align: number) =>
  (address: I32, x: V128, lane: number, offset = 0): Value<'v128'> =>
    value('v128', toI32(address).code, x.code, op(opcode), memarg(align, offset), [lane]);

export const v128 = {
  load: load(0, 2),
  load16x4U: load(4, 1),
  load32Splat: load(9, 2),
  load32Zero: load(92, 2),
  load64Zero: load(93, 2),
  load8Lane: loadLane(84, 0),
  load16Lane: loadLane(85, 1),
  load32Lane: loadLane(86, 2),
  constant: (bytes: readonly number[]): Value<'v128'> => value('v128', op(12), bytes),
  and: binary(78),
  /** x and not y */
  andNot: binary(79),
  or: binary(80),
  xor: binary(81),
  /** Bits of `yes` where the mask is 1, else of `no`. */
  select: (mask: V128, yes: V128, no: V128): Value<'v128'> => value('v128', yes.code, no.code, mask.code, op(82)),
  zero: (): Value<'v128'> => v128.constant(new Array<number>(16).fill(0)),
} as const;

export const i8x16 = {
  /** Bytes of x (0..15) and y (16..31) by index. */
  shuffle: (x: V128, y: V128, lanes: readonly number[]): Value<'v128'> => value('v128', x.code, y.code, op(13), lanes),
  splat: (x: I32): Value<'v128'> => value('v128', toI32(x).code, op(15)),
  eq: binary(35),
  ne: binary(36),
  narrowU: binary(102),
} as const;

export const i16x8 = {
  splat: (x: I32): Value<'v128'> => value('v128', toI32(x).code, op(16)),
  narrowU: binary(134),
  extendLowU8: unary(137),
} as const;

export const i32x4 = {
  splat: (x: I32): Value<'v128'> =>
    typeof x === 'number'
      ? v128.constant([i32Bytes(x), i32Bytes(x), i32Bytes(x), i32Bytes(x)].flat())
      : value('v128', x.code, op(17)),
  eq: binary(55),
  ne: binary(56),
  lt: binary(57),
  gt: binary(59),
  extendLowU16: unary(169),
  shl: shift(171),
  shrS: shift(172),
  shrU: shift(173),
  add: binary(174),
  sub: binary(177),
  truncSat: unary(248),
  /** Lanes (0..3 of x, 4..7 of y). */
  shuffle: (x: V128, y: V128, lanes: readonly [number, number, number, number]): Value<'v128'> =>
    i8x16.shuffle(
      x,
      y,
      lanes.flatMap((l) => [4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3]),
    ),
} as const;

export const f32x4 = {
  splat: (x: F32): Value<'v128'> =>
    typeof x === 'number'
      ? v128.constant([f32Bytes(x), f32Bytes(x), f32Bytes(x), f32Bytes(x)].flat())
      : value('v128', toF32(x).code, op(19)),
  eq: binary(65),
  ne: binary(66),
  lt: binary(67),
  gt: binary(68),
  le: binary(69),
  ge: binary(70),
  floor: unary(104),
  abs: unary(224),
  neg: unary(225),
  sqrt: unary(227),
  add: binary(228),
  sub: binary(229),
  mul: binary(230),
  div: binary(231),
  /** NaN where an operand is NaN. */
  min: binary(232),
  max: binary(233),
  /** y < x ? y : x, one instruction on x64; a NaN in x stays. */
  pmin: binary(234),
  pmax: binary(235),
  convertS: unary(250),
  demote: unary(94),
  /** x * y + z, fused or not as the engine likes; needs relaxed SIMD. */
  relaxedMadd: (x: V128, y: V128, z: V128): Value<'v128'> => value('v128', x.code, y.code, z.code, op(0x105)),
} as const;

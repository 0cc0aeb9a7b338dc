/** Loops over strided operands of any dtype: the frame of elementwise kernels and of copies. */
import type { View } from '../../core/backend.js';
import { bytesOf, type DType } from '../../core/dtype.js';
import { sizeOf } from '../../core/layout.js';
import {
  type FunctionBuilder,
  f32x4,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  type Value,
  v128,
} from './assembler/index.js';
import type { Runtime } from './runtime.js';

/** How the innermost axis of an operand runs: next to each other, one element for all, or apart. */
export type Mode = 'unit' | 'zero' | 'strided';

export interface Operand {
  readonly dtype: DType;
  readonly mode: Mode;
}

/** Lanes of a vector: float32, or the bits of 32-bit integers. */
export type Domain = 'float' | 'int';
type Vector = Value<'v128'>;

/** Computes four results from four elements of each input; `numbers` are the run-time scalars. */
export type Compute = (f: FunctionBuilder, inputs: readonly Vector[], numbers: readonly Vector[]) => Vector;

export interface LoopCode {
  readonly key: string;
  readonly inputs: readonly Domain[];
  readonly output: Domain;
  readonly compute: Compute;
  /** How many run-time scalars `compute` takes. */
  readonly numbers: number;
  /** Rough cost of an element in nanoseconds. */
  readonly cost: number;
}

const MAX_OPERANDS = 8;
const MAX_RANK = 12;
/** A chunk is worth about this many nanoseconds. */
const CHUNK_NS = 8000;

const FIELDS = { outer: 'i32', inner: 'i32', rowsPer: 'i32', innerPer: 'i32', innerChunks: 'i32' } as const;

/** Axes after joining neighbours that all operands walk alike; strides in elements by operand. */
export interface Collapsed {
  readonly shape: number[];
  readonly strides: number[][];
}

export function collapse(shape: readonly number[], strides: readonly (readonly number[])[]): Collapsed {
  const out: Collapsed = { shape: [], strides: strides.map(() => []) };
  for (let axis = 0; axis < shape.length; axis++) {
    const d = shape[axis];
    if (d === 1) continue;
    const last = out.shape.length - 1;
    if (last >= 0 && strides.every((s, i) => out.strides[i][last] === s[axis] * d)) {
      out.shape[last] *= d;
      strides.forEach((s, i) => {
        out.strides[i][last] = s[axis];
      });
    } else {
      out.shape.push(d);
      strides.forEach((s, i) => {
        out.strides[i].push(s[axis]);
      });
    }
  }
  if (out.shape.length === 0) {
    out.shape.push(1);
    for (const s of out.strides) s.push(1);
  }
  return out;
}

const modeOf = (stride: number): Mode => (stride === 1 ? 'unit' : stride === 0 ? 'zero' : 'strided');

/**
 * Runs `code` over inputs (of the output's shape; strides may be 0) into `output`, which may be strided too. False when
 * there are too many operands or axes.
 */
export function runLoop(
  rt: Runtime,
  code: LoopCode,
  inputs: readonly View[],
  output: View,
  numbers: readonly number[],
): boolean {
  if (inputs.length + 1 > MAX_OPERANDS) return false;
  if (sizeOf(output.shape) === 0) return true;
  const operands = [...inputs, output];
  const { shape, strides } = collapse(
    output.shape,
    operands.map((v) => v.strides),
  );
  const rank = shape.length - 1;
  if (rank > MAX_RANK) return false;
  const inner = shape[rank];
  let outer = 1;
  for (let i = 0; i < rank; i++) outer *= shape[i];
  const kinds = operands.map((v, i) => ({ dtype: v.dtype, mode: modeOf(strides[i][rank]) }));
  const key = `loop:${code.key}:${kinds.map((k) => k.dtype + k.mode).join()}`;
  const launch = rt.kernel(key, FIELDS, () => buildLoop(code, kinds));
  const perChunk = Math.max(64, Math.ceil(CHUNK_NS / code.cost));
  const innerPer = inner > 2 * perChunk ? Math.ceil(perChunk / 64) * 64 : inner;
  const innerChunks = Math.ceil(inner / innerPer);
  const rowsPer = innerChunks > 1 ? 1 : Math.max(1, Math.min(outer, Math.floor(perChunk / inner)));
  const extra: number[] = [rank, ...pad(shape.slice(0, rank), MAX_RANK)];
  operands.forEach((v, i) => {
    const bytes = bytesOf(v.dtype);
    extra.push(rt.address(v), strides[i][rank] * bytes);
    extra.push(
      ...pad(
        strides[i].slice(0, rank).map((s) => s * bytes),
        MAX_RANK,
      ),
    );
  });
  for (const x of numbers) extra.push(floatBits(x));
  launch({ outer, inner, rowsPer, innerPer, innerChunks }, Math.ceil(outer / rowsPer) * innerChunks, { extra });
  return true;
}

const pad = (list: readonly number[], length: number): number[] => [
  ...list,
  ...new Array<number>(length - list.length).fill(0),
];

const bits = new DataView(new ArrayBuffer(4));
export function floatBits(x: number): number {
  bits.setFloat32(0, x);
  return bits.getInt32(0);
}

const FIXED = Object.keys(FIELDS).length * 4;
const DIMS = FIXED + 4;
const OPERANDS = DIMS + 4 * MAX_RANK;
const OPERAND_BYTES = 4 * (2 + MAX_RANK);

function buildLoop(code: LoopCode, kinds: readonly Operand[]) {
  const count = kinds.length - 1;
  const output = kinds[count];
  return (f: FunctionBuilder, a: Record<keyof typeof FIELDS, Local<'i32'>>, chunk: Local<'i32'>): void => {
    const args = f.params[0] as Local<'i32'>;
    const base = kinds.map((_, i) => f.let(i32.load(args, OPERANDS + i * OPERAND_BYTES)));
    const step = kinds.map((k, i) =>
      k.mode === 'strided'
        ? f.let(i32.load(args, OPERANDS + i * OPERAND_BYTES + 4))
        : f.int(k.mode === 'unit' ? bytesOf(k.dtype) : 0),
    );
    const numbersAt = OPERANDS + kinds.length * OPERAND_BYTES;
    const numbers = Array.from({ length: code.numbers }, (_, i) => f.let(v128.load32Splat(args, numbersAt + 4 * i)));
    const rank = f.let(i32.load(args, FIXED));
    const rowBlock = f.let(i32.divU(chunk, a.innerChunks));
    const innerFrom = f.let(i32.mul(i32.remU(chunk, a.innerChunks), a.innerPer));
    const length = f.let(i32.min(f.let(i32.sub(a.inner, innerFrom)), a.innerPer));
    const rowFrom = f.let(i32.mul(rowBlock, a.rowsPer));
    const rowTo = f.let(i32.min(f.let(i32.add(rowFrom, a.rowsPer)), a.outer));
    f.for(rowFrom, rowTo, 1, (row) => {
      const pointers = kinds.map((_, i) => f.let(i32.add(base[i], i32.mul(innerFrom, step[i]))));
      const rest = f.int(row);
      const axis = f.let(i32.sub(rank, 1));
      f.if(i32.ge(axis, 0), () => {
        f.loop((again) => {
          // The first axis takes what is left, without a division.
          const index = f.int(rest);
          const at = f.let(i32.add(args, i32.shl(axis, 2)));
          f.if(axis, () => {
            const size = f.let(i32.load(at, DIMS));
            const quotient = f.let(i32.divU(rest, size));
            f.set(index, i32.sub(rest, i32.mul(quotient, size)));
            f.set(rest, quotient);
          });
          kinds.forEach((_, i) => {
            f.bump(pointers[i], i32.mul(index, i32.load(at, OPERANDS + i * OPERAND_BYTES + 8)));
          });
          f.bump(axis, -1);
          f.brIf(again, i32.ge(axis, 0));
        });
      });
      const constants = kinds.map((k, i) =>
        i < count && k.mode === 'zero' ? f.let(loadOne(f, k, code.inputs[i], pointers[i], true)) : null,
      );
      const left = f.int(length);
      const group = (vectors: number): void => {
        f.if(i32.ge(left, 4 * vectors), () => {
          f.loop((again) => {
            for (let u = 0; u < vectors; u++) {
              const loaded = kinds
                .slice(0, count)
                .map((k, i) => constants[i] ?? f.let(loadFour(f, k, code.inputs[i], pointers[i], step[i], u)));
              storeFour(f, output, code.output, pointers[count], step[count], u, code.compute(f, loaded, numbers));
            }
            kinds.forEach((k, i) => {
              if (k.mode === 'unit') f.bump(pointers[i], 4 * vectors * bytesOf(k.dtype));
              else if (k.mode === 'strided') f.bump(pointers[i], i32.mul(step[i], 4 * vectors));
            });
            f.bump(left, -4 * vectors);
            f.brIf(again, i32.ge(left, 4 * vectors));
          });
        });
      };
      if (code.cost < 0.5 && kinds.every((k) => k.mode !== 'strided')) group(4);
      group(1);
      f.if(i32.gt(left, 0), () => {
        f.loop((again) => {
          const loaded = kinds
            .slice(0, count)
            .map((k, i) => constants[i] ?? f.let(loadOne(f, k, code.inputs[i], pointers[i], false)));
          storeOne(f, output, code.output, pointers[count], code.compute(f, loaded, numbers));
          kinds.forEach((k, i) => {
            if (k.mode !== 'zero') f.bump(pointers[i], step[i]);
          });
          f.bump(left, -1);
          f.brIf(again, i32.gt(left, 0));
        });
      });
    });
  };
}

/** Bits of a dtype's elements in 32-bit lanes -> lanes of the domain. */
function decode(f: FunctionBuilder, dtype: DType, domain: Domain, raw: Vector): Vector {
  if (dtype === 'float32') return raw;
  if (dtype === 'bfloat16') return i32x4.shl(raw, 16);
  if (dtype === 'float16') return halfToFloat(f, raw);
  return domain === 'float' ? f32x4.convertS(raw) : raw;
}

/** IEEE half bits in 32-bit lanes -> float32. */
function halfToFloat(f: FunctionBuilder, raw: Vector): Vector {
  const h = f.let(raw);
  const magnitude = f.let(i32x4.shl(v128.and(h, i32x4.splat(0x7fff)), 13));
  // Scaling by 2^112 moves the exponent and makes subnormals normal, exactly.
  const scaled = f32x4.mul(magnitude, f32x4.splat(2 ** 112));
  const big = i32x4.gt(magnitude, i32x4.splat(0x0f7fffff));
  const special = v128.and(v128.or(magnitude, i32x4.splat(0x7f800000)), big);
  const sign = i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16);
  return v128.or(v128.or(scaled, special), sign);
}

function loadFour(
  f: FunctionBuilder,
  k: Operand,
  domain: Domain,
  at: Local<'i32'>,
  step: Local<'i32'>,
  u: number,
): Vector {
  const bytes = bytesOf(k.dtype);
  let raw: Vector;
  if (k.mode === 'unit') {
    if (bytes === 4) raw = v128.load(at, 16 * u);
    else if (bytes === 2) raw = v128.load16x4U(at, 8 * u);
    else raw = i32x4.extendLowU16(i16x8.extendLowU8(v128.load32Zero(at, 4 * u)));
  } else {
    const p = f.int(at);
    const lanes = f.let(loadRaw(bytes, p));
    for (let lane = 1; lane < 4; lane++) {
      f.bump(p, step);
      if (bytes === 4) f.set(lanes, v128.load32Lane(p, lanes, lane));
      else if (bytes === 2) f.set(lanes, v128.load16Lane(p, lanes, 2 * lane));
      else f.set(lanes, v128.load8Lane(p, lanes, 4 * lane));
    }
    raw = lanes;
  }
  return decode(f, k.dtype, domain, raw);
}

/** One element in the lowest lane. */
function loadRaw(bytes: number, at: Value<'i32'>): Vector {
  if (bytes === 4) return v128.load32Zero(at);
  return i32x4.splat(bytes === 2 ? i32.load16u(at) : i32.load8u(at));
}

function loadOne(f: FunctionBuilder, k: Operand, domain: Domain, at: Local<'i32'>, everywhere: boolean): Vector {
  const bytes = bytesOf(k.dtype);
  return decode(f, k.dtype, domain, everywhere && bytes === 4 ? v128.load32Splat(at) : loadRaw(bytes, at));
}

/** Lanes of the domain -> bits of the dtype in 32-bit lanes. */
function encode(f: FunctionBuilder, dtype: DType, domain: Domain, x: Vector): Vector {
  if (dtype === 'bool') {
    const zero = domain === 'float' ? f32x4.ne(x, f32x4.splat(0)) : i32x4.ne(x, i32x4.splat(0));
    return v128.and(zero, i32x4.splat(1));
  }
  if (dtype === 'int32' || dtype === 'uint8') {
    const whole = domain === 'float' ? i32x4.truncSat(x) : x;
    return dtype === 'uint8' ? v128.and(whole, i32x4.splat(255)) : whole;
  }
  const value = f.let(domain === 'int' ? f32x4.convertS(x) : x);
  if (dtype === 'float32') return value;
  const nan = f.let(f32x4.ne(value, value));
  if (dtype === 'bfloat16') {
    const odd = v128.and(i32x4.shrU(value, 16), i32x4.splat(1));
    const rounded = i32x4.shrU(i32x4.add(i32x4.add(value, i32x4.splat(0x7fff)), odd), 16);
    return v128.select(nan, v128.or(i32x4.shrU(value, 16), i32x4.splat(0x40)), rounded);
  }
  const sign = f.let(v128.and(i32x4.shrU(value, 16), i32x4.splat(0x8000)));
  const abs = f.let(v128.and(value, i32x4.splat(0x7fffffff)));
  const odd = v128.and(i32x4.shrU(abs, 13), i32x4.splat(1));
  const normal = i32x4.shrU(i32x4.add(i32x4.sub(abs, i32x4.splat(0x38000000 - 0xfff)), odd), 13);
  // The sum with 0.5 leaves the rounded mantissa of a subnormal half in the low bits.
  const subnormal = i32x4.sub(f32x4.add(abs, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  const finite = v128.select(i32x4.lt(abs, i32x4.splat(0x38800000)), subnormal, normal);
  const capped = v128.select(i32x4.gt(abs, i32x4.splat(0x477fefff)), i32x4.splat(0x7c00), finite);
  return v128.or(v128.select(nan, i32x4.splat(0x7e00), capped), sign);
}

function storeFour(
  f: FunctionBuilder,
  k: Operand,
  domain: Domain,
  at: Local<'i32'>,
  step: Local<'i32'>,
  u: number,
  x: Vector,
): void {
  const lanes = f.let(encode(f, k.dtype, domain, f.let(x)));
  const bytes = bytesOf(k.dtype) as 1 | 2 | 4;
  if (k.mode !== 'unit') {
    const p = f.int(at);
    for (let lane = 0; lane < 4; lane++) {
      f.storeLane(bytes, p, lanes, (4 / bytes) * lane);
      if (lane < 3) f.bump(p, step);
    }
  } else if (bytes === 4) {
    f.storeV128(at, lanes, 16 * u);
  } else {
    const halves = f.let(i16x8.narrowU(lanes, lanes));
    if (bytes === 2) f.storeLane(8, at, halves, 0, 8 * u);
    else f.storeLane(4, at, i8x16.narrowU(halves, halves), 0, 4 * u);
  }
}

function storeOne(f: FunctionBuilder, k: Operand, domain: Domain, at: Local<'i32'>, x: Vector): void {
  f.storeLane(bytesOf(k.dtype) as 1 | 2 | 4, at, encode(f, k.dtype, domain, f.let(x)), 0);
}

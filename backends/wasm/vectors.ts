/** Loops over rows of contiguous float32: the same body for whole vectors and for the last elements one by one. */
import {
  type FunctionBuilder,
  f32x4,
  type I32,
  i32,
  type Local,
  type V128,
  type Value,
  v128,
} from './assembler/index.js';

/** The vector at hand: four elements, or one in the lowest lane with zeros above. */
export interface Lanes {
  /** Number of the unrolled copy, for an accumulator of its own. */
  readonly copy: number;
  load(pointer: Local<'i32'>): Value<'v128'>;
  store(pointer: Local<'i32'>, x: V128): void;
  /** x where elements are, `fill` in lanes that hold none: what a sum or a maximum may take. */
  only(x: V128, fill?: number): Value<'v128'>;
}

const FIRST_LANE = [255, 255, 255, 255, ...new Array<number>(12).fill(0)];

/** Runs `body` over `count` elements; the pointers move along and end behind the row. */
export function eachVector(
  f: FunctionBuilder,
  count: I32,
  pointers: readonly Local<'i32'>[],
  copies: number,
  body: (lanes: Lanes) => void,
): void {
  const left = f.int(count);
  const group = (n: number): void => {
    f.if(i32.ge(left, 4 * n), () => {
      f.loop((again) => {
        for (let copy = 0; copy < n; copy++) {
          body({
            copy,
            load: (p) => v128.load(p, 16 * copy),
            store: (p, x) => f.storeV128(p, x, 16 * copy),
            only: (x) => x,
          });
        }
        for (const p of pointers) f.bump(p, 16 * n);
        f.bump(left, -4 * n);
        f.brIf(again, i32.ge(left, 4 * n));
      });
    });
  };
  if (copies > 1) group(copies);
  group(1);
  f.repeat(left, () => {
    body({
      copy: 0,
      load: (p) => v128.load32Zero(p),
      store: (p, x) => f.storeLane(4, p, x, 0),
      only: (x, fill = 0) =>
        fill === 0
          ? v128.and(x, v128.constant(FIRST_LANE))
          : v128.select(v128.constant(FIRST_LANE), x, f32x4.splat(fill)),
    });
    for (const p of pointers) f.bump(p, 4);
  });
}

/** Accumulators, one for each unrolled copy, and their sum. */
export function accumulators(
  f: FunctionBuilder,
  copies: number,
  start = 0,
): { all: Local<'v128'>[]; total(): Value<'v128'> } {
  const all = Array.from({ length: copies }, () => f.let(f32x4.splat(start)));
  return { all, total: () => all.reduce<Value<'v128'>>((x, y) => (x === y ? x : f32x4.add(x, y)), all[0]) };
}

/** The rows of a chunk, `per` rows each: [from, to). */
export function chunkRange(
  f: FunctionBuilder,
  chunk: Local<'i32'>,
  per: I32,
  total: I32,
): [Local<'i32'>, Local<'i32'>] {
  const from = f.let(i32.mul(chunk, per));
  return [from, f.let(i32.min(f.let(i32.add(from, per)), total))];
}

/** base + 4 * index */
export const element = (base: I32, index: I32): Value<'i32'> => i32.add(base, i32.shl(index, 2));

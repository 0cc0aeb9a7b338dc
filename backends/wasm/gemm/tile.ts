/** The register micro-kernel: a small tile of a matrix product, kept in vector registers over the whole inner loop. */
import { type FunctionBuilder, f32x4, type I32, i32, type Local, type Value, v128 } from '../assembler/index.js';
import { hasRelaxedSimd } from '../features.js';

/** Shape of a tile and where its operands lie; offsets are bytes known at compile time. */
export interface TileShape {
  /** Rows (elements of A at a time). */
  readonly rows: number;
  /** Vectors of four columns (elements of B at a time). */
  readonly vectors: number;
  /** Steps of the inner index that are unrolled. */
  readonly unroll: number;
  /** Distance of A's elements from row to row and from step to step. */
  readonly aRow: number;
  readonly aStep: number;
  /** Distance of B's vectors from step to step; vectors of one step lie side by side. */
  readonly bStep: number;
}

/** Accumulators by row and vector. */
export type Accumulators = Local<'v128'>[][];

export function zeroAccumulators(
  f: FunctionBuilder,
  { rows, vectors }: { rows: number; vectors: number },
): Accumulators {
  return Array.from({ length: rows }, () => Array.from({ length: vectors }, () => f.let(v128.zero())));
}

/** x * y + z, in one instruction where the engine has it. */
export function multiplyAdd(x: Value<'v128'>, y: Value<'v128'>, z: Value<'v128'>): Value<'v128'> {
  return hasRelaxedSimd() ? f32x4.relaxedMadd(x, y, z) : f32x4.add(z, f32x4.mul(x, y));
}

/** One step of the inner index at compile-time step `u`. */
function emitStep(
  f: FunctionBuilder,
  tile: TileShape,
  acc: Accumulators,
  a: readonly Local<'i32'>[],
  b: Local<'i32'>,
  u: number,
): void {
  const columns = Array.from({ length: tile.vectors }, (_, j) => f.let(v128.load(b, u * tile.bStep + 16 * j)));
  for (let i = 0; i < tile.rows; i++) {
    const [pointer, at] = a.length === 1 ? [a[0], i * tile.aRow] : [a[i], 0];
    const x = f.let(v128.load32Splat(pointer, at + u * tile.aStep));
    for (let j = 0; j < tile.vectors; j++) f.set(acc[i][j], multiplyAdd(x, columns[j], acc[i][j]));
  }
}

/**
 * acc += A B over `steps` (at least 1) values of the inner index; afterwards a and b have moved on by the whole unrolled
 * groups that were finished. `a` is one pointer, or one for each row. `jump` replaces the distance that a moves after a
 * group.
 *
 * Every unrolled step ends in an exit of the loop: engines sink arithmetic to the end of a basic block but keep loads
 * where they are, so that steps in one block would hold all their loads in registers at once and spill.
 */
export function emitInner(
  f: FunctionBuilder,
  tile: TileShape,
  acc: Accumulators,
  a: Local<'i32'> | readonly Local<'i32'>[],
  b: Local<'i32'>,
  steps: I32,
  jump: I32 = tile.unroll * tile.aStep,
): void {
  const pointers = 'code' in a ? [a] : a;
  const left = f.int(steps);
  f.block((leave) => {
    f.loop((again) => {
      for (let u = 0; u < tile.unroll; u++) {
        emitStep(f, tile, acc, pointers, b, u);
        f.bump(left, -1);
        if (u + 1 < tile.unroll) f.brIf(leave, i32.eqz(left));
      }
      for (const p of pointers) f.bump(p, jump);
      f.bump(b, tile.unroll * tile.bStep);
      f.brIf(again, left);
    });
  });
}

/** Writes the tile to memory, or adds it to what is there; `rowBytes` is the distance of rows. */
export function emitStore(
  f: FunctionBuilder,
  acc: Accumulators,
  c: Local<'i32'>,
  rowBytes: I32,
  add: Local<'i32'> | boolean,
): void {
  const p = f.int(c);
  const store = (adding: boolean): void => {
    acc.forEach((row, i) => {
      row.forEach((x, j) => {
        f.storeV128(p, adding ? f32x4.add(v128.load(p, 16 * j), x) : x, 16 * j);
      });
      if (i + 1 < acc.length) f.bump(p, rowBytes);
    });
  };
  if (typeof add === 'boolean') store(add);
  else
    f.if(
      add,
      () => store(true),
      () => store(false),
    );
}

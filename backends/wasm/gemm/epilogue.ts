/** What happens to a finished part of a product while it is in the cache: bias, GELU, residual. */
import {
  type Func,
  type FunctionBuilder,
  f32,
  f32x4,
  i32,
  type Local,
  type ModuleBuilder,
  type Value,
  v128,
} from '../assembler/index.js';
import { geluAndSlope } from '../math.js';

/** Which steps a product's store includes, in this order. */
export interface Epilogue {
  readonly bias: boolean;
  readonly gelu: boolean;
  /** Keep the slope of GELU too. */
  readonly keep: boolean;
  readonly residual: boolean;
}

export const PLAIN: Epilogue = { bias: false, gelu: false, keep: false, residual: false };

export const isPlain = (e: Epilogue): boolean => !e.bias && !e.gelu && !e.residual;

export const epilogueKey = (e: Epilogue): string =>
  `${e.bias ? 'b' : ''}${e.gelu ? 'g' : ''}${e.keep ? 'k' : ''}${e.residual ? 'r' : ''}`;

/** Where the operands lie: the bias of this column, and the distances from the result to the kept slope and residual. */
export interface EpilogueAt {
  readonly bias: Value<'i32'>;
  readonly kept: Value<'i32'>;
  readonly residual: Value<'i32'>;
}

/** Finishes four results that belong at address c; reading past the row's end is harmless, writing is up to `store`. */
export function emitEpilogue(
  f: FunctionBuilder,
  e: Epilogue,
  x: Value<'v128'>,
  c: Value<'i32'>,
  at: EpilogueAt,
  store: (address: Value<'i32'>, value: Local<'v128'>) => void,
): void {
  const y = f.let(e.bias ? f32x4.add(x, v128.load(at.bias)) : x);
  if (e.gelu) {
    const { value, slope } = geluAndSlope(f, y);
    if (e.keep) store(f.let(i32.add(c, at.kept)), f.let(slope));
    f.set(y, value);
  }
  if (e.residual) f.set(y, f32x4.add(y, v128.load(i32.add(c, at.residual))));
  store(c, y);
}

/** Stores the first `count` (1 to 3) lanes. */
export function storePart(f: FunctionBuilder, address: Value<'i32'>, x: Local<'v128'>, count: Local<'i32'>): void {
  for (let lane = 0; lane < 3; lane++) {
    f.if(i32.gt(count, lane), () => f.storeLane(4, address, x, lane, 4 * lane));
  }
}

/** Adds `finish(c, rowBytes, rows, columns, bias, kept, residual)`: the epilogue over a rectangle that lies in memory. */
export function addFinish(m: ModuleBuilder, e: Epilogue): Func {
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [c, rowBytes, rows, columns, bias, kept, residual] = f.params as Local<'i32'>[];
    f.for(0, rows, 1, () => {
      const p = f.int(c);
      const left = f.int(columns);
      const b = f.int(bias);
      f.block((leave) => {
        f.loop((again) => {
          f.brIf(leave, i32.lt(left, 4));
          emitEpilogue(f, e, v128.load(p), p, { bias: b, kept, residual }, (to, x) => f.storeV128(to, x));
          f.bump(p, 16);
          f.bump(b, 16);
          f.bump(left, -4);
          f.br(again);
        });
      });
      f.if(i32.gt(left, 0), () => {
        emitEpilogue(f, e, v128.load(p), p, { bias: b, kept, residual }, (to, x) => storePart(f, to, x, left));
      });
      f.bump(c, rowBytes);
    });
  });
}

/** Adds `merge(tile, tileRowBytes, c, rowBytes, rows, columns, add)`: copies or adds a part of a tile into the result. */
export function addMerge(m: ModuleBuilder): Func {
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [tile, tileRowBytes, c, rowBytes, rows, columns, add] = f.params as Local<'i32'>[];
    f.for(0, rows, 1, () => {
      f.for(0, columns, 1, (j) => {
        const at = f.let(i32.add(c, i32.shl(j, 2)));
        const x = f.let(f32.load(i32.add(tile, i32.shl(j, 2))));
        f.if(add, () => f.set(x, f32.add(x, f32.load(at))));
        f.storeF32(at, x);
      });
      f.bump(tile, tileRowBytes);
      f.bump(c, rowBytes);
    });
  });
}

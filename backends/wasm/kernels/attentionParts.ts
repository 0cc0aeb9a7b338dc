/**
 * The parts that attention forward and backward share. Scores are computed transposed, eight queries at a time:
 * S^T [keys, 8]. So softmax runs down the columns without ever crossing lanes, and its result is already packed for the
 * next product.
 */
import type { View } from '../../../core/backend.js';
import { broadcastStrides } from '../../../core/layout.js';
import { type Func, f32, f32x4, i32, type Local, type ModuleBuilder, v128 } from '../assembler/index.js';
import { BLOCK } from '../gemm/pack.js';
import { emitInner, emitStore, type TileShape, zeroAccumulators } from '../gemm/tile.js';
import { expNegative } from '../math.js';
import type { Runtime } from '../runtime.js';
import { element } from '../vectors.js';

/** Queries of a block. */
export const QUERIES = 8;
/** Keys of a panel. */
export const KEYS = 4;
/** Bytes of a row of S^T. */
export const ROW = 4 * QUERIES;

export const panels = (n: number, width: number): number => Math.ceil(n / width);
export const padTo = (n: number, width: number): number => panels(n, width) * width;

/** A tile function `(a, b, steps, c, rowBytes, add)`. */
export function addTile(m: ModuleBuilder, shape: Pick<TileShape, 'aRow' | 'aStep'>): Func {
  const tile: TileShape = { rows: 4, vectors: 2, unroll: 4, bStep: 32, ...shape };
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [a, b, steps, c, rowBytes, add] = f.params as Local<'i32'>[];
    const acc = zeroAccumulators(f, tile);
    emitInner(f, tile, acc, a, b, steps);
    emitStore(f, acc, c, rowBytes, add);
  });
}

/** `(packedRows, panels, columns, depth, s)`: s [4 panels, 8] = rows (in panels of 4) times columns [depth, 8]. */
export function addScores(m: ModuleBuilder): Func {
  const tile = addTile(m, { aRow: 4, aStep: 4 * KEYS });
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [rows, count, columns, depth, s] = f.params as Local<'i32'>[];
    const panelBytes = f.let(i32.mul(depth, 4 * KEYS));
    f.repeat(count, () => {
      f.call(tile, rows, columns, depth, s, ROW, 0);
      f.bump(rows, panelBytes);
      f.bump(s, KEYS * ROW);
    });
  });
}

/** `(p, packed, keys, width, out)`: out [8, width] = P times a packed [keys, width]; p is P^T, width a multiple of 8. */
export function addWeighted(m: ModuleBuilder): Func {
  const tile = addTile(m, { aRow: 4, aStep: ROW });
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [p, packed, keys, width, out] = f.params as Local<'i32'>[];
    const rowBytes = f.let(i32.shl(width, 2));
    f.for(0, keys, BLOCK, (k0) => {
      const steps = f.let(i32.min(f.let(i32.sub(keys, k0)), BLOCK));
      const a = f.let(i32.add(p, i32.mul(k0, ROW)));
      const b = f.let(i32.add(packed, i32.mul(k0, rowBytes)));
      f.for(0, width, 8, (column) => {
        const c = f.let(element(out, column));
        f.call(tile, a, b, steps, c, rowBytes, k0);
        f.call(tile, i32.add(a, 16), b, steps, i32.add(c, i32.shl(rowBytes, 2)), rowBytes, k0);
        f.bump(b, i32.mul(steps, 32));
      });
    });
  });
}

/** `(s, keys, bias, queryBytes, keyBytes, queries)`: adds the bias of these queries to S^T. */
export function addBias(m: ModuleBuilder): Func {
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [s, keys, bias, queryBytes, keyBytes, queries] = f.params as Local<'i32'>[];
    f.repeat(keys, () => {
      const [p, q] = [f.int(bias), f.int(s)];
      f.repeat(queries, () => {
        f.storeF32(q, f32.add(f32.load(q), f32.load(p)));
        f.bump(p, queryBytes);
        f.bump(q, 4);
      });
      f.bump(bias, keyBytes);
      f.bump(s, ROW);
    });
  });
}

/** `(s, keys, padding, keyBytes)`: -Infinity for keys that are padding. */
export function addPadding(m: ModuleBuilder): Func {
  return m.func(['i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [s, keys, padding, keyBytes] = f.params as Local<'i32'>[];
    f.repeat(keys, () => {
      f.if(i32.load8u(padding), () => {
        f.storeV128(s, f32x4.splat(-Infinity));
        f.storeV128(s, f32x4.splat(-Infinity), 16);
      });
      f.bump(padding, keyBytes);
      f.bump(s, ROW);
    });
  });
}

/** `(x, n, factor)`: multiplies n vectors in place. */
export function addScale(m: ModuleBuilder): Func {
  return m.func(['i32', 'i32', 'f32'], null, (f) => {
    const [x, n, factor] = f.params as [Local<'i32'>, Local<'i32'>, Local<'f32'>];
    const v = f.let(f32x4.splat(factor));
    f.repeat(n, () => {
      f.storeV128(x, f32x4.mul(v128.load(x), v));
      f.bump(x, 16);
    });
  });
}

/**
 * `(s, keys, stats)`: S^T becomes e^(S - max) and stats [2, 8] the maxima (0 where all are -Infinity) and the sums
 * (1 where they are 0).
 */
export function addColumnSoftmax(m: ModuleBuilder): Func {
  return m.func(['i32', 'i32', 'i32'], null, (f) => {
    const [s, keys, stats] = f.params as Local<'i32'>[];
    const top = [0, 1].map(() => f.let(f32x4.splat(-Infinity)));
    const p = f.int(s);
    f.repeat(keys, () => {
      // A NaN is left out here and comes back as e^NaN.
      top.forEach((t, i) => {
        f.set(t, f32x4.pmax(t, v128.load(p, 16 * i)));
      });
      f.bump(p, ROW);
    });
    for (const t of top) f.set(t, v128.andNot(t, f32x4.eq(t, f32x4.splat(-Infinity))));
    const total = [0, 1].map(() => f.let(v128.zero()));
    f.setInt(p, s);
    f.repeat(keys, () => {
      total.forEach((sum, i) => {
        const e = f.let(expNegative(f, f32x4.sub(v128.load(p, 16 * i), top[i])));
        f.storeV128(p, e, 16 * i);
        f.set(sum, f32x4.add(sum, e));
      });
      f.bump(p, ROW);
    });
    [0, 1].forEach((i) => {
      const none = f32x4.eq(total[i], v128.zero());
      f.storeV128(stats, top[i], 16 * i);
      f.storeV128(stats, v128.select(none, f32x4.splat(1), total[i]), ROW + 16 * i);
    });
  });
}

/** `(from, to, columns, factor)`: to = factor times from, `columns` elements. */
export function addScaledRow(m: ModuleBuilder): Func {
  return m.func(['i32', 'i32', 'i32', 'f32'], null, (f) => {
    const [from, to, columns, factor] = f.params as [Local<'i32'>, Local<'i32'>, Local<'i32'>, Local<'f32'>];
    const v = f.let(f32x4.splat(factor));
    f.repeat(i32.shrU(columns, 2), () => {
      f.storeV128(to, f32x4.mul(v128.load(from), v));
      f.bump(from, 16);
      f.bump(to, 16);
    });
    f.repeat(i32.and(columns, 3), () => {
      f.storeF32(to, f32.mul(f32.load(from), factor));
      f.bump(from, 4);
      f.bump(to, 4);
    });
  });
}

/** Byte strides [batch, position, head, element] of q, k, v or o. */
export interface HeadStrides {
  readonly batch: number;
  readonly row: number;
  readonly head: number;
  readonly step: number;
}

export function headStrides(x: View): HeadStrides {
  const [batch, row, head, step] = x.strides.map((s) => 4 * s);
  return { batch, row, head, step };
}

/** Byte strides of a mask or bias over [B, H, Lq, Lk] (or [B, Lk] with `axes`), and its address; all 0 without one. */
export function maskStrides(rt: Runtime, x: View | null, shape: readonly number[], bytes: number) {
  if (!x) return { address: 0, strides: shape.map(() => 0) };
  return { address: rt.address(x), strides: broadcastStrides(x, shape).map((s) => s * bytes) };
}

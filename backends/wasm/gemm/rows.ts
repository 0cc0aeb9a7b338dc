/**
 * Products whose left rows are contiguous and share one right matrix: the rows are read where they lie, through a table
 * of addresses, so that rows of many batch elements are one product.
 */
import { type Func, f32, f32x4, i32, type Local, type ModuleBuilder, type Value, v128 } from '../assembler/index.js';
import type { Launch, Runtime } from '../runtime.js';
import { element } from '../vectors.js';
import { addFinish, type Epilogue, epilogueKey } from './epilogue.js';
import { BLOCK } from './pack.js';
import { emitInner, type TileShape, zeroAccumulators } from './tile.js';

const ROWS = 4;
const COLUMNS = 8;
const TILE: TileShape = { rows: ROWS, vectors: 2, unroll: 4, aRow: 0, aStep: 4, bStep: 4 * COLUMNS };

/** Scratch of a thread: where the rows of a partial tile lie, and the tile. */
export const ROWS_SCRATCH = 64 + 4 * ROWS * COLUMNS;

const FIELDS = {
  a: 'i32',
  c: 'i32',
  b: 'i32',
  rows: 'i32',
  columns: 'i32',
  depth: 'i32',
  rowGroupsPer: 'i32',
  columnPanelsPer: 'i32',
  columnChunks: 'i32',
  bias: 'i32',
  kept: 'i32',
  residual: 'i32',
} as const;

/** What a tile's store adds; GELU instead takes all steps of the epilogue in a pass over the finished rectangle. */
const stored = (e: Epilogue) => ({ bias: e.bias && !e.gelu, residual: e.residual && !e.gelu });

/**
 * Adds `tile(a, skip, b, steps, c, column, add, last, bias, residual)`: a and c are tables of the addresses of four rows,
 * skip and column byte distances within them.
 */
function addTile(m: ModuleBuilder, epilogue: Epilogue): Func {
  const { bias: hasBias, residual: hasResidual } = stored(epilogue);
  return m.func(new Array<'i32'>(10).fill('i32'), null, (f) => {
    const [a, skip, b, steps, c, column, add, last, bias, residual] = f.params as Local<'i32'>[];
    const pointers = [0, 1, 2, 3].map((i) => f.let(i32.add(i32.load(a, 4 * i), skip)));
    const acc = zeroAccumulators(f, TILE);
    emitInner(f, TILE, acc, pointers, b, steps);
    const targets = [0, 1, 2, 3].map((i) => f.let(i32.add(i32.load(c, 4 * i), column)));
    const each = (value: (x: Local<'v128'>, at: Local<'i32'>, j: number) => Value<'v128'>): void => {
      acc.forEach((row, i) => {
        row.forEach((x, j) => {
          f.set(x, value(x, targets[i], j));
        });
      });
    };
    f.if(add, () => each((x, at, j) => f32x4.add(v128.load(at, 16 * j), x)));
    if (hasBias || hasResidual) {
      f.if(last, () => {
        if (hasBias) {
          const vectors = [0, 16].map((at) => f.let(v128.load(bias, at)));
          each((x, _, j) => f32x4.add(x, vectors[j]));
        }
        if (hasResidual) each((x, at, j) => f32x4.add(x, v128.load(i32.add(at, residual), 16 * j)));
      });
    }
    acc.forEach((row, i) => {
      row.forEach((x, j) => {
        f.storeV128(targets[i], x, 16 * j);
      });
    });
  });
}

/** Adds `merge(tile, c, column, rows, columns, add, last, bias, residual)`: what a tile's store does, for a part of one. */
function addMerge(m: ModuleBuilder, epilogue: Epilogue): Func {
  const { bias: hasBias, residual: hasResidual } = stored(epilogue);
  return m.func(new Array<'i32'>(9).fill('i32'), null, (f) => {
    const [tile, c, column, rows, columns, add, last, bias, residual] = f.params as Local<'i32'>[];
    f.for(0, rows, 1, (i) => {
      const target = f.let(i32.add(i32.load(element(c, i)), column));
      f.for(0, columns, 1, (j) => {
        const at = f.let(element(target, j));
        const x = f.let(f32.load(element(tile, j)));
        f.if(add, () => f.set(x, f32.add(f32.load(at), x)));
        f.if(last, () => {
          if (hasBias) f.set(x, f32.add(x, f32.load(element(bias, j))));
          if (hasResidual) f.set(x, f32.add(x, f32.load(i32.add(at, residual))));
        });
        f.storeF32(at, x);
      });
      f.bump(tile, 4 * COLUMNS);
    });
  });
}

/**
 * C = A B for tables `a` and `c` of the addresses of all rows (a's filled up to a multiple of four) and packed B; a chunk
 * is a rectangle of C. `kept` and `residual` are distances from c.
 */
export function rowsKernel(rt: Runtime, epilogue: Epilogue): Launch<typeof FIELDS> {
  return rt.kernel(`gemm:rows:${epilogueKey(epilogue)}`, FIELDS, (m) => {
    const tile = addTile(m, epilogue);
    const merge = addMerge(m, epilogue);
    const finish = epilogue.gelu ? addFinish(m, epilogue) : null;
    return (f, p, chunk, scratch) => {
      const groups = f.let(i32.shrU(i32.add(p.rows, ROWS - 1), 2));
      const columnPanels = f.let(i32.shrU(i32.add(p.columns, COLUMNS - 1), 3));
      const rowFrom = f.let(i32.mul(i32.divU(chunk, p.columnChunks), p.rowGroupsPer));
      const rowTo = f.let(i32.min(f.let(i32.add(rowFrom, p.rowGroupsPer)), groups));
      const columnFrom = f.let(i32.mul(i32.remU(chunk, p.columnChunks), p.columnPanelsPer));
      const columnTo = f.let(i32.min(f.let(i32.add(columnFrom, p.columnPanelsPer)), columnPanels));
      const part = f.let(i32.add(scratch, 64));
      for (let i = 0; i < ROWS; i++) f.storeI32(scratch, i32.add(part, 4 * COLUMNS * i), 4 * i);
      f.for(0, p.depth, BLOCK, (k0) => {
        const steps = f.let(i32.min(f.let(i32.sub(p.depth, k0)), BLOCK));
        const last = f.let(i32.eq(i32.add(k0, steps), p.depth));
        const skip = f.let(i32.shl(k0, 2));
        const bBlock = f.let(i32.add(p.b, i32.mul(i32.mul(k0, columnPanels), 4 * COLUMNS)));
        f.for(columnFrom, columnTo, 1, (j) => {
          const b = f.let(i32.add(bBlock, i32.mul(i32.mul(j, steps), 4 * COLUMNS)));
          const columns = f.let(i32.min(f.let(i32.sub(p.columns, i32.shl(j, 3))), COLUMNS));
          const column = f.let(i32.shl(j, 5));
          const bias = f.let(i32.add(p.bias, column));
          const [a, c] = [p.a, p.c].map((table) => f.let(i32.add(table, i32.shl(rowFrom, 4))));
          f.for(rowFrom, rowTo, 1, (i) => {
            const rows = f.let(i32.min(f.let(i32.sub(p.rows, i32.shl(i, 2))), ROWS));
            f.if(
              i32.and(i32.eq(rows, ROWS), i32.eq(columns, COLUMNS)),
              () => f.call(tile, a, skip, b, steps, c, column, k0, last, bias, p.residual),
              () => {
                f.call(tile, a, skip, b, steps, scratch, 0, 0, 0, 0, 0);
                f.call(merge, part, c, column, rows, columns, k0, last, bias, p.residual);
              },
            );
            f.bump(a, 4 * ROWS);
            f.bump(c, 4 * ROWS);
          });
        });
      });
      if (finish) {
        const column = f.let(i32.shl(columnFrom, 3));
        const columns = f.let(i32.sub(i32.min(f.let(i32.shl(columnTo, 3)), p.columns), column));
        const bias = f.let(element(p.bias, column));
        const rows = f.let(i32.min(f.let(i32.shl(rowTo, 2)), p.rows));
        f.for(f.let(i32.shl(rowFrom, 2)), rows, 1, (row) => {
          const c = element(i32.load(element(p.c, row)), column);
          f.call(finish, c, 0, 1, columns, bias, p.kept, p.residual);
        });
      }
    };
  });
}

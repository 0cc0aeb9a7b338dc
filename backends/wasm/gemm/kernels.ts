/** The kernels of a packed product: pack both operands, then multiply block by block. */
import { i32, type Local } from '../assembler/index.js';
import type { Launch, Runtime } from '../runtime.js';
import { addFinish, addMerge, type Epilogue, epilogueKey, isPlain } from './epilogue.js';
import { addPack, BLOCK } from './pack.js';
import { emitInner, emitStore, type TileShape, zeroAccumulators } from './tile.js';

/** Rows and columns of the micro-kernel. Wider engines can take another one: nothing else depends on it. */
export const ROWS = 4;
export const COLUMNS = 8;

const TILE: TileShape = {
  rows: ROWS,
  vectors: COLUMNS / 4,
  unroll: 4,
  aRow: 4,
  aStep: 4 * ROWS,
  bStep: 4 * COLUMNS,
};

const PACK_FIELDS = {
  aSources: 'i32',
  aTarget: 'i32',
  aBatchBytes: 'i32',
  aCount: 'i32',
  aRow: 'i32',
  aStep: 'i32',
  aPanels: 'i32',
  aPer: 'i32',
  aChunks: 'i32',
  aTotal: 'i32',
  bSources: 'i32',
  bTarget: 'i32',
  bBatchBytes: 'i32',
  bCount: 'i32',
  bRow: 'i32',
  bStep: 'i32',
  bPanels: 'i32',
  bPer: 'i32',
  bChunks: 'i32',
  depth: 'i32',
} as const;

/**
 * Packs A (chunks 0 to aTotal - 1) and B (the rest). `Sources` are tables of addresses by batch element, `Chunks` the
 * chunks of one batch element, `Per` the panels of a chunk.
 */
export function packKernel(rt: Runtime): Launch<typeof PACK_FIELDS> {
  return rt.kernel('gemm:pack', PACK_FIELDS, (m) => {
    const packs = { a: addPack(m, ROWS), b: addPack(m, COLUMNS) };
    return (f, p, chunk) => {
      const pack = (x: 'a' | 'b', number: Local<'i32'>): void => {
        const batch = f.let(i32.divU(number, p[`${x}Chunks`]));
        const from = f.let(i32.mul(i32.remU(number, p[`${x}Chunks`]), p[`${x}Per`]));
        const to = f.let(i32.min(f.let(i32.add(from, p[`${x}Per`])), p[`${x}Panels`]));
        const source = i32.load(i32.add(p[`${x}Sources`], i32.shl(batch, 2)));
        const target = i32.add(p[`${x}Target`], i32.mul(batch, p[`${x}BatchBytes`]));
        f.call(packs[x], source, target, p[`${x}Count`], p.depth, p[`${x}Row`], p[`${x}Step`], from, to);
      };
      f.if(
        i32.lt(chunk, p.aTotal),
        () => pack('a', chunk),
        () => pack('b', f.let(i32.sub(chunk, p.aTotal))),
      );
    };
  });
}

const MULTIPLY_FIELDS = {
  a: 'i32',
  aBatchBytes: 'i32',
  b: 'i32',
  bBatchBytes: 'i32',
  c: 'i32',
  cBatchBytes: 'i32',
  cRow: 'i32',
  rows: 'i32',
  columns: 'i32',
  depth: 'i32',
  rowPanelsPer: 'i32',
  rowChunks: 'i32',
  columnPanelsPer: 'i32',
  columnChunks: 'i32',
  bias: 'i32',
  kept: 'i32',
  residual: 'i32',
} as const;

/** Multiplies packed operands; a chunk is a rectangle of the result. `kept` and `residual` are distances from c. */
export function multiplyKernel(rt: Runtime, epilogue: Epilogue): Launch<typeof MULTIPLY_FIELDS> {
  return rt.kernel(`gemm:multiply:${epilogueKey(epilogue)}`, MULTIPLY_FIELDS, (m) => {
    const tile = m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
      const [a, b, steps, c, rowBytes, add] = f.params as Local<'i32'>[];
      const acc = zeroAccumulators(f, TILE);
      emitInner(f, TILE, acc, a, b, steps);
      emitStore(f, acc, c, rowBytes, add);
    });
    const merge = addMerge(m);
    const finish = isPlain(epilogue) ? null : addFinish(m, epilogue);
    return (f, p, chunk, scratch) => {
      const perBatch = f.let(i32.mul(p.rowChunks, p.columnChunks));
      const batch = f.let(i32.divU(chunk, perBatch));
      const rest = f.let(i32.remU(chunk, perBatch));
      const rowPanels = f.let(i32.divU(i32.add(p.rows, ROWS - 1), ROWS));
      const columnPanels = f.let(i32.divU(i32.add(p.columns, COLUMNS - 1), COLUMNS));
      const rowFrom = f.let(i32.mul(i32.divU(rest, p.columnChunks), p.rowPanelsPer));
      const rowTo = f.let(i32.min(f.let(i32.add(rowFrom, p.rowPanelsPer)), rowPanels));
      const columnFrom = f.let(i32.mul(i32.remU(rest, p.columnChunks), p.columnPanelsPer));
      const columnTo = f.let(i32.min(f.let(i32.add(columnFrom, p.columnPanelsPer)), columnPanels));
      const aBase = f.let(i32.add(p.a, i32.mul(batch, p.aBatchBytes)));
      const bBase = f.let(i32.add(p.b, i32.mul(batch, p.bBatchBytes)));
      const cBase = f.let(i32.add(p.c, i32.mul(batch, p.cBatchBytes)));
      f.for(0, p.depth, BLOCK, (k0) => {
        const steps = f.let(i32.min(f.let(i32.sub(p.depth, k0)), BLOCK));
        const aBlock = f.let(i32.add(aBase, i32.mul(i32.mul(k0, rowPanels), 4 * ROWS)));
        const bBlock = f.let(i32.add(bBase, i32.mul(i32.mul(k0, columnPanels), 4 * COLUMNS)));
        f.for(columnFrom, columnTo, 1, (j) => {
          const b = f.let(i32.add(bBlock, i32.mul(i32.mul(j, steps), 4 * COLUMNS)));
          const columns = f.let(i32.min(f.let(i32.sub(p.columns, i32.mul(j, COLUMNS))), COLUMNS));
          const a = f.let(i32.add(aBlock, i32.mul(i32.mul(rowFrom, steps), 4 * ROWS)));
          const aPanel = f.let(i32.mul(steps, 4 * ROWS));
          const c = f.let(i32.add(i32.add(cBase, i32.mul(i32.mul(rowFrom, ROWS), p.cRow)), i32.mul(j, 4 * COLUMNS)));
          f.for(rowFrom, rowTo, 1, (i) => {
            const rows = f.let(i32.min(f.let(i32.sub(p.rows, i32.mul(i, ROWS))), ROWS));
            f.if(
              i32.and(i32.eq(rows, ROWS), i32.eq(columns, COLUMNS)),
              () => f.call(tile, a, b, steps, c, p.cRow, k0),
              () => {
                f.call(tile, a, b, steps, scratch, 4 * COLUMNS, 0);
                f.call(merge, scratch, 4 * COLUMNS, c, p.cRow, rows, columns, k0);
              },
            );
            f.bump(a, aPanel);
            f.bump(c, i32.mul(p.cRow, ROWS));
          });
        });
      });
      if (finish) {
        // The whole rectangle at once: it is still in the cache, and constants are set up only here.
        const [row, column] = [f.let(i32.mul(rowFrom, ROWS)), f.let(i32.mul(columnFrom, COLUMNS))];
        const rows = i32.sub(i32.min(f.let(i32.mul(rowTo, ROWS)), p.rows), row);
        const columns = i32.sub(i32.min(f.let(i32.mul(columnTo, COLUMNS)), p.columns), column);
        const c = i32.add(i32.add(cBase, i32.mul(row, p.cRow)), i32.shl(column, 2));
        f.call(finish, c, p.cRow, rows, columns, i32.add(p.bias, i32.shl(column, 2)), p.kept, p.residual);
      }
    };
  });
}

/** Matrix products of any strides, batched, with a fused store. */
import { type Runtime, split } from '../runtime.js';
import { dotKernel } from './dot.js';
import { type Epilogue, PLAIN } from './epilogue.js';
import { COLUMNS, multiplyKernel, packKernel, ROWS } from './kernels.js';

/** A strided matrix (strides in elements), one address a batch element; a single address stands for all. */
export interface Matrix {
  readonly addresses: readonly number[];
  readonly row: number;
  readonly column: number;
}

/** C = A B, A [rows, depth], B [depth, columns], and what the store adds. */
export interface Product {
  readonly batches: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: Matrix;
  readonly b: Matrix;
  /** Address, elements from row to row (columns are contiguous) and from one batch element to the next. */
  readonly c: { readonly address: number; readonly row: number; readonly batch: number };
  readonly epilogue?: Epilogue;
  /** [columns] */
  readonly bias?: number;
  /** Arrays that lie like C. */
  readonly kept?: number;
  readonly residual?: number;
}

/** Rows up to which dot products beat packing. */
const FEW_ROWS = 8;
/** Packed copies held at a time. */
const PACKED_BYTES = 32 << 20;
/** A chunk of work, in multiply-adds. */
const SMALL_CHUNK = 500_000;
const LARGE_CHUNK = 4_000_000;
/** Rows of a chunk: with a block of inner indices their packed panels stay in the second-level cache. */
const CHUNK_ROWS = 256;

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/** Computes a product; depth must not be 0. */
export function multiply(rt: Runtime, p: Product): void {
  if (p.rows === 0 || p.columns === 0 || p.batches === 0) return;
  if (p.rows <= FEW_ROWS && p.batches === 1 && p.b.row === 1 && p.a.column === 1) multiplyFew(rt, p);
  else multiplyPacked(rt, p);
}

function multiplyFew(rt: Runtime, p: Product): void {
  const { per, chunks } = split(Math.ceil(p.columns / 4), 4 * p.rows * p.depth, 100_000);
  const c = p.c.address;
  dotKernel(rt, p.epilogue ?? PLAIN)(
    {
      x: p.a.addresses[0],
      xRow: 4 * p.a.row,
      rows: p.rows,
      w: p.b.addresses[0],
      wRow: 4 * p.b.column,
      columns: p.columns,
      depth: p.depth,
      c,
      cRow: 4 * p.c.row,
      per: 4 * per,
      bias: p.bias ?? 0,
      kept: (p.kept ?? c) - c,
      residual: (p.residual ?? c) - c,
    },
    chunks,
  );
}

/** Cuts a product into parts whose packed operands fit the limit, and runs them one after the other. */
function multiplyPacked(rt: Runtime, p: Product): void {
  const limit = Math.max(PACKED_BYTES / (4 * p.depth), 64);
  const rowsPer = Math.min(p.rows, roundUp(limit, ROWS));
  const columnsPer = Math.min(p.columns, roundUp(limit, COLUMNS));
  const oneBatch = 4 * p.depth * (rowsPer + columnsPer);
  const batchesPer = Math.max(1, Math.min(p.batches, Math.floor((2 * PACKED_BYTES) / oneBatch)));
  for (let batch = 0; batch < p.batches; batch += batchesPer) {
    const batches = Math.min(batchesPer, p.batches - batch);
    for (let column = 0; column < p.columns; column += columnsPer) {
      for (let row = 0; row < p.rows; row += rowsPer) {
        const skip = 4 * (batch * p.c.batch + row * p.c.row + column);
        multiplyPart(rt, {
          ...p,
          batches,
          rows: Math.min(rowsPer, p.rows - row),
          columns: Math.min(columnsPer, p.columns - column),
          a: part(p.a, batch, batches, row * p.a.row),
          b: part(p.b, batch, batches, column * p.b.column),
          c: { ...p.c, address: p.c.address + skip },
          bias: p.bias === undefined ? undefined : p.bias + 4 * column,
          kept: p.kept === undefined ? undefined : p.kept + skip,
          residual: p.residual === undefined ? undefined : p.residual + skip,
        });
      }
    }
  }
}

function part(m: Matrix, batch: number, batches: number, elements: number): Matrix {
  const addresses = m.addresses.length === 1 ? m.addresses : m.addresses.slice(batch, batch + batches);
  return { ...m, addresses: addresses.map((a) => a + 4 * elements) };
}

function multiplyPart(rt: Runtime, p: Product): void {
  const aPanels = Math.ceil(p.rows / ROWS);
  const bPanels = Math.ceil(p.columns / COLUMNS);
  const aBytes = 4 * aPanels * ROWS * p.depth;
  const bBytes = 4 * bPanels * COLUMNS * p.depth;
  const aCount = p.a.addresses.length;
  const bCount = p.b.addresses.length;
  const bAt = roundUp(aBytes * aCount, 64);
  const tableAt = bAt + roundUp(bBytes * bCount, 64);
  rt.temporary(tableAt + 4 * (aCount + bCount), (packed) => {
    const tables = packed + tableAt;
    rt.heap.i32.set(
      [...p.a.addresses, ...p.b.addresses].map((a) => a | 0),
      tables / 4,
    );
    const a = split(aPanels, ROWS * p.depth, 16384);
    const b = split(bPanels, COLUMNS * p.depth, 16384);
    packKernel(rt)(
      {
        aSources: tables,
        aTarget: packed,
        aBatchBytes: aBytes,
        aCount: p.rows,
        aRow: 4 * p.a.row,
        aStep: 4 * p.a.column,
        aPanels,
        aPer: a.per,
        aChunks: a.chunks,
        aTotal: a.chunks * aCount,
        bSources: tables + 4 * aCount,
        bTarget: packed + bAt,
        bBatchBytes: bBytes,
        bCount: p.columns,
        bRow: 4 * p.b.column,
        bStep: 4 * p.b.row,
        bPanels,
        bPer: b.per,
        bChunks: b.chunks,
        depth: p.depth,
      },
      a.chunks * aCount + b.chunks * bCount,
    );
    const plan = rectangles(p, aPanels, bPanels, rt.threads);
    const c = p.c.address;
    multiplyKernel(rt, p.epilogue ?? PLAIN)(
      {
        a: packed,
        aBatchBytes: aCount === 1 ? 0 : aBytes,
        b: packed + bAt,
        bBatchBytes: bCount === 1 ? 0 : bBytes,
        c,
        cBatchBytes: 4 * p.c.batch,
        cRow: 4 * p.c.row,
        rows: p.rows,
        columns: p.columns,
        depth: p.depth,
        rowPanelsPer: plan.rowPanels,
        rowChunks: Math.ceil(aPanels / plan.rowPanels),
        columnPanelsPer: plan.columnPanels,
        columnChunks: Math.ceil(bPanels / plan.columnPanels),
        bias: p.bias ?? 0,
        kept: (p.kept ?? c) - c,
        residual: (p.residual ?? c) - c,
      },
      p.batches * Math.ceil(aPanels / plan.rowPanels) * Math.ceil(bPanels / plan.columnPanels),
      { scratch: 4 * ROWS * COLUMNS },
    );
  });
}

/** How the result is cut into chunks: enough of them for all threads, large enough to be worth a claim. */
function rectangles(
  p: Product,
  aPanels: number,
  bPanels: number,
  threads: number,
): { rowPanels: number; columnPanels: number } {
  const total = p.batches * p.rows * p.columns * p.depth;
  const rowChunks = Math.ceil(p.rows / CHUNK_ROWS);
  const rowPanels = Math.ceil(aPanels / rowChunks);
  const target = Math.max(SMALL_CHUNK, Math.min(LARGE_CHUNK, total / (8 * threads)));
  const columnPanels = split(bPanels, rowPanels * ROWS * COLUMNS * p.depth, target).per;
  return { rowPanels, columnPanels };
}

/** Matrix products of any strides, batched, with a fused store. */
import { type Runtime, split } from '../runtime.js';
import { dotKernel } from './dot.js';
import { type Epilogue, PLAIN } from './epilogue.js';
import { COLUMNS, multiplyKernel, packKernel, ROWS } from './kernels.js';
import { ROWS_SCRATCH, rowsKernel } from './rows.js';

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
export const PACKED_BYTES = 32 << 20;
/** A chunk of work, in multiply-adds. */
const SMALL_CHUNK = 250_000;
const LARGE_CHUNK = 4_000_000;
/** Chunks that a thread should get: the last ones end at different times. */
const CHUNKS_A_THREAD = 32;
/** A chunk of packing, in elements. */
const PACK_CHUNK = 16384;
/** Rows of a chunk: with a block of inner indices their packed panels stay in the second-level cache. */
const CHUNK_ROWS = 256;

export const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/** Computes a product; depth must not be 0. */
export function multiply(rt: Runtime, p: Product): void {
  if (p.rows === 0 || p.columns === 0 || p.batches === 0) return;
  if (p.rows <= FEW_ROWS && p.batches === 1 && p.b.row === 1 && p.a.column === 1) multiplyFew(rt, p);
  else multiplyPacked(rt, p);
}

/** Whether the left rows can be read where they lie. */
const hasRows = (p: Product): boolean => p.a.column === 1 && p.b.addresses.length === 1;

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
  const rowsPer = hasRows(p) ? p.rows : Math.min(p.rows, roundUp(limit, ROWS));
  const columnsPer = Math.min(p.columns, roundUp(limit, COLUMNS));
  const oneBatch = 4 * p.depth * (rowsPer + columnsPer);
  const rows = hasRows(p);
  const batchesPer = rows ? p.batches : Math.max(1, Math.min(p.batches, Math.floor((2 * PACKED_BYTES) / oneBatch)));
  for (let batch = 0; batch < p.batches; batch += batchesPer) {
    const batches = Math.min(batchesPer, p.batches - batch);
    for (let column = 0; column < p.columns; column += columnsPer) {
      for (let row = 0; row < p.rows; row += rowsPer) {
        const skip = 4 * (batch * p.c.batch + row * p.c.row + column);
        (rows ? multiplyRows : multiplyPart)(rt, {
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

/** An operand to be packed: a table of the addresses of its matrices, strides in bytes, and where its panels go. */
interface Packing {
  readonly sources: number;
  readonly matrices: number;
  /** Rows of A or columns of B, their distance, and that of inner indices. */
  readonly size: number;
  readonly row: number;
  readonly step: number;
  readonly target: number;
  readonly panels: number;
  readonly bytes: number;
}

const NOTHING: Packing = { sources: 0, matrices: 0, size: 0, row: 0, step: 0, target: 0, panels: 0, bytes: 0 };

function packingOf(p: Product, which: 'a' | 'b', sources: number, target: number): Packing {
  const { addresses, row, column } = p[which];
  const [size, width] = which === 'a' ? [p.rows, ROWS] : [p.columns, COLUMNS];
  const [between, step] = which === 'a' ? [row, column] : [column, row];
  const panels = Math.ceil(size / width);
  const bytes = 4 * panels * width * p.depth;
  return { sources, matrices: addresses.length, size, row: 4 * between, step: 4 * step, target, panels, bytes };
}

function pack(rt: Runtime, depth: number, a: Packing, b: Packing): void {
  const aWork = split(a.panels, ROWS * depth, PACK_CHUNK);
  const bWork = split(b.panels, COLUMNS * depth, PACK_CHUNK);
  const aTotal = aWork.chunks * a.matrices;
  packKernel(rt)(
    {
      aSources: a.sources,
      aTarget: a.target,
      aBatchBytes: a.bytes,
      aCount: a.size,
      aRow: a.row,
      aStep: a.step,
      aPanels: a.panels,
      aPer: aWork.per,
      aChunks: aWork.chunks,
      aTotal,
      bSources: b.sources,
      bTarget: b.target,
      bBatchBytes: b.bytes,
      bCount: b.size,
      bRow: b.row,
      bStep: b.step,
      bPanels: b.panels,
      bPer: bWork.per,
      bChunks: bWork.chunks,
      depth,
    },
    aTotal + bWork.chunks * b.matrices,
  );
}

/** Distances of what the store adds. */
function epilogueOf(p: Omit<Product, 'a' | 'b'>): { bias: number; kept: number; residual: number } {
  const c = p.c.address;
  return { bias: p.bias ?? 0, kept: (p.kept ?? c) - c, residual: (p.residual ?? c) - c };
}

function multiplyPart(rt: Runtime, p: Product): void {
  const [aCount, bCount] = [p.a.addresses.length, p.b.addresses.length];
  const size = (which: 'a' | 'b', count: number) => roundUp(packingOf(p, which, 0, 0).bytes * count, 64);
  const bAt = size('a', aCount);
  const tableAt = bAt + size('b', bCount);
  rt.temporary(tableAt + 4 * (aCount + bCount), (packed) => {
    const tables = packed + tableAt;
    [...p.a.addresses, ...p.b.addresses].forEach((address, i) => {
      rt.heap.i32[tables / 4 + i] = address;
    });
    const a = packingOf(p, 'a', tables, packed);
    const b = packingOf(p, 'b', tables + 4 * aCount, packed + bAt);
    pack(rt, p.depth, a, b);
    runPacked(
      rt,
      p,
      { target: a.target, bytes: aCount === 1 ? 0 : a.bytes },
      { target: b.target, bytes: bCount === 1 ? 0 : b.bytes },
    );
  });
}

/** Panels of one matrix, or of one for each batch element so many bytes apart. */
interface Packed {
  readonly target: number;
  readonly bytes: number;
}

/** Multiplies operands that are packed already. */
export function runPacked(rt: Runtime, p: Omit<Product, 'a' | 'b'>, a: Packed, b: Packed): void {
  const plan = rectangles(p.batches, p.rows, p, rt.threads);
  multiplyKernel(rt, p.epilogue ?? PLAIN)(
    {
      a: a.target,
      aBatchBytes: a.bytes,
      b: b.target,
      bBatchBytes: b.bytes,
      c: p.c.address,
      cBatchBytes: 4 * p.c.batch,
      cRow: 4 * p.c.row,
      rows: p.rows,
      columns: p.columns,
      depth: p.depth,
      rowPanelsPer: plan.rowPanels,
      rowChunks: plan.rowChunks,
      columnPanelsPer: plan.columnPanels,
      columnChunks: plan.columnChunks,
      ...epilogueOf(p),
    },
    p.batches * plan.rowChunks * plan.columnChunks,
    { scratch: 4 * ROWS * COLUMNS },
  );
}

/** The same without packing A: only B is, and tables say where the rows of A and C lie. */
function multiplyRows(rt: Runtime, p: Product): void {
  const rows = p.batches * p.rows;
  const tableRows = roundUp(rows, ROWS);
  const tableAt = roundUp(packingOf(p, 'b', 0, 0).bytes, 64);
  rt.temporary(tableAt + 8 * tableRows + 4, (packed) => {
    const { i32 } = rt.heap;
    const a = packed + tableAt;
    const c = a + 4 * tableRows;
    for (let batch = 0, i = a / 4, k = c / 4; batch < p.batches; batch++) {
      let from = p.a.addresses.length === 1 ? p.a.addresses[0] : p.a.addresses[batch];
      let to = p.c.address + 4 * batch * p.c.batch;
      for (let row = 0; row < p.rows; row++) {
        i32[i++] = from;
        i32[k++] = to;
        from += 4 * p.a.row;
        to += 4 * p.c.row;
      }
    }
    // Rows behind the last are read, not stored.
    i32.fill(i32[a / 4 + rows - 1], a / 4 + rows, a / 4 + tableRows);
    const sources = c + 4 * tableRows;
    i32[sources / 4] = p.b.addresses[0];
    const b = packingOf(p, 'b', sources, packed);
    pack(rt, p.depth, NOTHING, b);
    const plan = rectangles(1, rows, p, rt.threads);
    rowsKernel(rt, p.epilogue ?? PLAIN)(
      {
        a,
        c,
        b: packed,
        rows,
        columns: p.columns,
        depth: p.depth,
        rowGroupsPer: plan.rowPanels,
        columnPanelsPer: plan.columnPanels,
        columnChunks: plan.columnChunks,
        ...epilogueOf(p),
      },
      plan.rowChunks * plan.columnChunks,
      { scratch: ROWS_SCRATCH },
    );
  });
}

/** How the result is cut into chunks: enough of them for all threads, large enough to be worth a claim. */
function rectangles(
  batches: number,
  rows: number,
  { columns, depth }: Pick<Product, 'columns' | 'depth'>,
  threads: number,
) {
  const total = batches * rows * columns * depth;
  const aPanels = Math.ceil(rows / ROWS);
  const bPanels = Math.ceil(columns / COLUMNS);
  const rowPanels = Math.ceil(aPanels / Math.ceil(rows / CHUNK_ROWS));
  const target = Math.max(SMALL_CHUNK, Math.min(LARGE_CHUNK, total / (CHUNKS_A_THREAD * threads)));
  const columnPanels = split(bPanels, rowPanels * ROWS * COLUMNS * depth, target).per;
  return {
    rowPanels,
    columnPanels,
    rowChunks: Math.ceil(aPanels / rowPanels),
    columnChunks: Math.ceil(bPanels / columnPanels),
  };
}

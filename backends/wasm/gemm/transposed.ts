/** C = A^T B for operands whose rows are contiguous and may lie in many places: the gradient of weights. */
import { type FunctionBuilder, f32, f32x4, i32, type Local, v128 } from '../assembler/index.js';
import type { Launch, Runtime } from '../runtime.js';
import { element } from '../vectors.js';
import { PACKED_BYTES, roundUp, runPacked } from './index.js';
import { COLUMNS, ROWS } from './kernels.js';
import { BLOCK } from './pack.js';

/** Rows of `width` elements: `length` of them from each address on, `row` elements apart. */
export interface Rows {
  readonly addresses: readonly number[];
  readonly length: number;
  readonly row: number;
  readonly width: number;
}

/** Columns that are packed together: a cache line of every row. */
const GROUP = 16;

/**
 * c [a.width, b.width] = A^T B over all rows of A and B, of which there must be as many and at least one; `sums` [a.width]
 * gets the sums of A's rows (unless it is 0).
 */
export function multiplyTransposed(rt: Runtime, a: Rows, b: Rows, c: number, sums: number): void {
  const depth = a.addresses.length * a.length;
  if (a.width === 0) return;
  const per = roundUp(Math.max(PACKED_BYTES / (4 * depth), 64), GROUP);
  rt.temporary(8 * depth, (aTable) => {
    const bTable = aTable + 4 * depth;
    writeTable(rt, a, aTable);
    writeTable(rt, b, bTable);
    for (let column = 0; column === 0 || column < b.width; column += per) {
      const columns = Math.min(per, b.width - column);
      for (let row = 0; row < a.width; row += per) {
        const rows = Math.min(per, a.width - row);
        const target = c + 4 * (row * b.width + column);
        const left = { table: aTable, skip: 4 * row, width: rows, sums: sums && column === 0 ? sums + 4 * row : 0 };
        part(rt, depth, left, { table: bTable, skip: 4 * column, width: columns }, { address: target, row: b.width });
      }
    }
  });
}

function writeTable(rt: Runtime, { addresses, length, row }: Rows, table: number): void {
  let at = table / 4;
  for (const address of addresses) for (let i = 0; i < length; i++) rt.heap.i32[at++] = address + 4 * i * row;
}

/** Columns `skip` bytes from the start of the rows on. */
interface Part {
  readonly table: number;
  readonly skip: number;
  readonly width: number;
}

function part(
  rt: Runtime,
  depth: number,
  a: Part & { readonly sums: number },
  b: Part,
  c: { readonly address: number; readonly row: number },
): void {
  const aBytes = roundUp(4 * depth * roundUp(a.width, ROWS), 64);
  rt.temporary(aBytes + 4 * depth * roundUp(b.width, COLUMNS), (packed) => {
    const aGroups = Math.ceil(a.width / GROUP);
    packRowsKernel(rt)(
      {
        depth,
        aTable: a.table,
        aSkip: a.skip,
        aWidth: a.width,
        aTarget: packed,
        aGroups,
        sums: a.sums,
        bTable: b.table,
        bSkip: b.skip,
        bWidth: b.width,
        bTarget: packed + aBytes,
      },
      aGroups + Math.ceil(b.width / GROUP),
    );
    if (b.width === 0) return;
    runPacked(
      rt,
      { batches: 1, rows: a.width, columns: b.width, depth, c: { ...c, batch: 0 } },
      { target: packed, bytes: 0 },
      { target: packed + aBytes, bytes: 0 },
    );
  });
}

const FIELDS = {
  depth: 'i32',
  aTable: 'i32',
  aSkip: 'i32',
  aWidth: 'i32',
  aTarget: 'i32',
  aGroups: 'i32',
  sums: 'i32',
  bTable: 'i32',
  bSkip: 'i32',
  bWidth: 'i32',
  bTarget: 'i32',
} as const;

/** Packs columns of A (chunks 0 to aGroups - 1) and of B into panels as the multiplication takes them. */
function packRowsKernel(rt: Runtime): Launch<typeof FIELDS> {
  return rt.kernel('gemm:packRows', FIELDS, () => (f, p, chunk) => {
    const { depth } = p;
    f.if(
      i32.lt(chunk, p.aGroups),
      () => {
        const a = { depth, table: p.aTable, skip: p.aSkip, width: p.aWidth, target: p.aTarget };
        packGroup(f, ROWS, a, chunk, p.sums);
      },
      () => {
        const b = { depth, table: p.bTable, skip: p.bSkip, width: p.bWidth, target: p.bTarget };
        packGroup(f, COLUMNS, b, f.let(i32.sub(chunk, p.aGroups)), null);
      },
    );
  });
}

type Operand = Readonly<Record<'depth' | 'table' | 'skip' | 'width' | 'target', Local<'i32'>>>;

/** Packs a group of columns in panels of `panel`; where `sums` is not 0, the columns' sums over all rows go there. */
function packGroup(
  f: FunctionBuilder,
  panel: number,
  { depth, table, skip, width, target }: Operand,
  group: Local<'i32'>,
  sums: Local<'i32'> | null,
): void {
  const column = f.let(i32.mul(group, GROUP));
  const left = f.let(i32.min(f.let(i32.sub(width, column)), GROUP));
  const padded = f.let(i32.and(i32.add(width, panel - 1), -panel));
  const start = f.let(element(skip, column));
  /** Calls `body` for each block of rows with its table, the place of the panel from column `first` on, and its rows. */
  const blocks = (
    first: Local<'i32'>,
    body: (entry: Local<'i32'>, to: Local<'i32'>, steps: Local<'i32'>) => void,
  ): void => {
    f.for(0, depth, BLOCK, (k0) => {
      const steps = f.let(i32.min(f.let(i32.sub(depth, k0)), BLOCK));
      const to = f.let(element(target, i32.add(i32.mul(k0, padded), i32.mul(first, steps))));
      body(f.let(element(table, k0)), to, steps);
    });
  };
  const wide = (): void => {
    const vectors = [0, 1, 2, 3];
    const totals = sums ? vectors.map(() => f.let(v128.zero())) : [];
    blocks(column, (entry, to, steps) => {
      const panels = Array.from({ length: GROUP / panel }, (_, q) => f.let(i32.add(to, i32.mul(steps, 4 * panel * q))));
      const parts = totals.map(() => f.let(v128.zero()));
      f.repeat(steps, () => {
        const from = f.let(i32.add(i32.load(entry), start));
        for (const i of vectors) {
          const x = f.let(v128.load(from, 16 * i));
          f.storeV128(panels[Math.floor((4 * i) / panel)], x, 4 * ((4 * i) % panel));
          if (sums) f.set(parts[i], f32x4.add(parts[i], x));
        }
        f.bump(entry, 4);
        for (const p of panels) f.bump(p, 4 * panel);
      });
      totals.forEach((total, i) => {
        f.set(total, f32x4.add(total, parts[i]));
      });
    });
    if (!sums) return;
    f.if(sums, () => {
      totals.forEach((total, i) => {
        f.storeV128(element(sums, column), total, 16 * i);
      });
    });
  };
  const narrow = (): void => {
    f.for(0, left, panel, (first) => {
      const count = f.let(i32.sub(left, first));
      blocks(f.let(i32.add(column, first)), (entry, to, steps) => {
        f.repeat(steps, () => {
          const from = f.let(element(i32.add(i32.load(entry), start), first));
          for (let i = 0; i < panel; i++) {
            f.if(
              i32.gt(count, i),
              () => f.storeF32(to, f32.load(from, 4 * i), 4 * i),
              () => f.storeF32(to, 0, 4 * i),
            );
          }
          f.bump(entry, 4);
          f.bump(to, 4 * panel);
        });
      });
    });
    if (!sums) return;
    f.if(sums, () => {
      f.for(0, left, 1, (j) => {
        const total = f.let(f32.const(0));
        blocks(column, (entry, _, steps) => {
          const part = f.let(f32.const(0));
          f.repeat(steps, () => {
            f.set(part, f32.add(part, f32.load(element(i32.add(i32.load(entry), start), j))));
            f.bump(entry, 4);
          });
          f.set(total, f32.add(total, part));
        });
        f.storeF32(element(sums, i32.add(column, j)), total);
      });
    });
  };
  f.if(i32.eq(left, GROUP), wide, narrow);
}

/** Rows of a table by number, and their inverse. */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { OpError } from '../../../core/errors.js';
import { f32x4, i32, v128 } from '../assembler/index.js';
import { type Runtime, split } from '../runtime.js';
import { chunkRange, eachVector, element } from '../vectors.js';
import { allFloat, count } from './views.js';

/** Kernels trust ids: a wrong one would reach other tensors. */
function checkIds(rt: Runtime, op: string, ids: View, rows: number): void {
  const start = rt.address(ids) / 4;
  const end = start + count(ids.shape);
  const { i32: words } = rt.heap;
  for (let i = start; i < end; i++) {
    if (words[i] < 0 || words[i] >= rows) throw new OpError(op, `expected ids from 0 to ${rows - 1}, got ${words[i]}`);
  }
}

const GATHER_FIELDS = { table: 'i32', ids: 'i32', y: 'i32', count: 'i32', rowBytes: 'i32', per: 'i32' } as const;

const gatherKernel = (rt: Runtime) =>
  rt.kernel('gatherRows', GATHER_FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.count);
    f.for(from, to, 1, (i) => {
      const id = i32.load(element(a.ids, i));
      const source = f.let(i32.add(a.table, i32.mul(id, a.rowBytes)));
      const target = f.let(i32.add(a.y, i32.mul(i, a.rowBytes)));
      f.repeat(i32.shrU(a.rowBytes, 4), () => {
        f.storeV128(target, v128.load(source));
        f.bump(source, 16);
        f.bump(target, 16);
      });
      f.repeat(i32.and(a.rowBytes, 15), () => {
        f.storeI8(target, i32.load8u(source));
        f.bump(source, 1);
        f.bump(target, 1);
      });
    });
  });

export function gatherRows(rt: Runtime): Kernel {
  return {
    plan(inputs) {
      const [table, ids] = inputs as [View, View];
      if (ids.dtype !== 'int32') return null;
      const rowBytes = count(table.shape.slice(1)) * bytesOf(table.dtype);
      const rows = count(ids.shape);
      return ([y]) => {
        checkIds(rt, 'gatherRows', ids, table.shape[0]);
        const { per, chunks } = split(rows, rowBytes, 1 << 17);
        gatherKernel(rt)(
          { table: rt.address(table), ids: rt.address(ids), y: rt.address(y), count: rows, rowBytes, per },
          chunks,
        );
      };
    },
  };
}

const SCATTER_FIELDS = { g: 'i32', ids: 'i32', y: 'i32', count: 'i32', rows: 'i32', width: 'i32', per: 'i32' } as const;

/** A chunk is a range of columns of all rows, so that every sum has the order of the ids. */
const scatterKernel = (rt: Runtime) =>
  rt.kernel('scatterAddRows', SCATTER_FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.width);
    const length = f.let(i32.sub(to, from));
    f.for(0, a.rows, 1, (row) => {
      const y = f.let(element(a.y, i32.add(i32.mul(row, a.width), from)));
      eachVector(f, length, [y], 4, ({ store }) => store(y, f32x4.splat(0)));
    });
    f.for(0, a.count, 1, (i) => {
      const id = i32.load(element(a.ids, i));
      const g = f.let(element(a.g, i32.add(i32.mul(i, a.width), from)));
      const y = f.let(element(a.y, i32.add(i32.mul(id, a.width), from)));
      eachVector(f, length, [g, y], 1, ({ load, store }) => store(y, f32x4.add(load(y), load(g))));
    });
  });

export function scatterAddRows(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [g, ids] = inputs as [View, View];
      const { rows } = attrs as { readonly rows: number };
      if (ids.dtype !== 'int32' || !allFloat([g], outputs)) return null;
      const width = count(outputs[0].shape.slice(1));
      return ([y]) => {
        checkIds(rt, 'scatterAddRows', ids, rows);
        const n = count(ids.shape);
        // 64 columns are whole cache lines.
        const per = Math.min(width, 64);
        scatterKernel(rt)(
          { g: rt.address(g), ids: rt.address(ids), y: rt.address(y), count: n, rows, width, per },
          per === 0 ? 0 : Math.ceil(width / per),
        );
      };
    },
  };
}

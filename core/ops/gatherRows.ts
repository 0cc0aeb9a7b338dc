import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { isFloat } from '../dtype.js';
import { OpError } from '../errors.js';
import { normalizeAxis, sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat, type SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { transpose } from './permute.js';
import { formatSpec, need } from './rules.js';

function idsOf(op: string, inputs: readonly SpecOrNull[]): Spec {
  const ids = need(op, inputs, 1);
  if (isFloat(ids.dtype)) throw new OpError(op, `expected integer ids, got ${formatSpec(ids)}`);
  return ids;
}

function checkId(op: string, id: number, rows: number): void {
  if (!(id >= 0 && id < rows)) throw new OpError(op, `expected ids from 0 to ${rows - 1}, got ${id}`);
}

const scatter = defineOp<{ readonly rows: number }>({
  name: 'scatterAddRows',
  infer(inputs, { rows }) {
    const [g, ids] = [need('scatterAddRows', inputs, 0), idsOf('scatterAddRows', inputs)];
    if (ids.shape.some((d, i) => d !== g.shape[i])) {
      throw new OpError(
        'scatterAddRows',
        `expected ids for the leading axes of ${formatSpec(g)}, got ${formatSpec(ids)}`,
      );
    }
    return [{ shape: [rows, ...g.shape.slice(ids.shape.length)], dtype: g.dtype }];
  },
  reference([g, ids], [y], { rows }) {
    const width = sizeOf(y.shape.slice(1));
    (ids as Flat).values.forEach((id, i) => {
      checkId('scatterAddRows', id, rows);
      for (let k = 0; k < width; k++) y.values[id * width + k] += (g as Flat).values[i * width + k];
    });
  },
  vjp: { saves: ([, ids]) => [ids], back: ([g], [ids]) => [() => gatherRows(g as Tensor, ids as Tensor), null] },
  samples: () => [
    { inputs: [{ shape: [3, 6, 8] }, { shape: [3, 6], dtype: 'int32', high: 11 }], attrs: { rows: 11 } },
    { inputs: [{ shape: [4] }, { shape: [4], dtype: 'int32', high: 3 }], attrs: { rows: 3 } },
  ],
});

const op = defineOp({
  name: 'gatherRows',
  moves: true,
  infer(inputs) {
    const [table, ids] = [need('gatherRows', inputs, 0), idsOf('gatherRows', inputs)];
    if (table.shape.length === 0) throw new OpError('gatherRows', `expected a table of rows, got ${formatSpec(table)}`);
    return [{ shape: [...ids.shape, ...table.shape.slice(1)], dtype: table.dtype }];
  },
  reference([table, ids], [y]) {
    const { shape, values } = table as Flat;
    const width = sizeOf(shape.slice(1));
    (ids as Flat).values.forEach((id, i) => {
      checkId('gatherRows', id, shape[0]);
      y.values.set(values.subarray(id * width, (id + 1) * width), i * width);
    });
  },
  vjp: {
    saves: ([, ids]) => [ids],
    back: ([g], [ids], _, [table]) => [
      () => scatterAddRows(g as Tensor, ids as Tensor, (table as Spec).shape[0]),
      null,
    ],
  },
  samples: () => [
    { inputs: [{ shape: [11, 8] }, { shape: [3, 6], dtype: 'int32', high: 11 }], attrs: {} },
    { inputs: [{ shape: [7, 2, 3] }, { shape: [], dtype: 'int32', high: 7 }], attrs: {} },
  ],
});

/** Rows of `table` [V, D...] for integer ids [...]: [..., D...]. */
export const gatherRows = (table: Tensor, ids: Tensor): Tensor => call1(op, [table, ids], {});

/** [V, D...] with each row of g [..., D...] added to the row that ids [...] names; V is `rows`. */
export const scatterAddRows = (g: Tensor, ids: Tensor, rows: number): Tensor => call1(scatter, [g, ids], { rows });

/** The rows of `table` [V, D] for integer ids [...]: [..., D]. */
export const embedding = (ids: Tensor, table: Tensor): Tensor => gatherRows(table, ids);

/** The entries of `axis` that `ids` [N] name, in that order. */
export function indexSelect(x: Tensor, axis: number, ids: Tensor): Tensor {
  if (ids.rank !== 1) throw new OpError('indexSelect', `expected ids of one axis, got ${ids}`);
  const a = normalizeAxis('indexSelect', axis, x.rank);
  if (a === 0) return gatherRows(x, ids);
  return scope(() => transpose(gatherRows(transpose(x, 0, a), ids), 0, a));
}

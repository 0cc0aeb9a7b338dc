import type { Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { normalizeAxis } from '../layout.js';
import { scope } from '../memory.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { scatterAdd } from './gather.js';
import type { Extreme } from './max.js';
import { transpose } from './permute.js';
import { formatSpec, need } from './rules.js';

interface TopAttrs {
  readonly k: number;
  readonly largest: boolean;
}

/** Along the last axis. */
const op = defineOp<TopAttrs>({
  name: 'topk',
  infer(inputs, { k }) {
    const x = need('topk', inputs, 0);
    const n = x.shape.at(-1) ?? 0;
    if (!(Number.isInteger(k) && k >= 0 && k <= n))
      throw new OpError('topk', `expected at most ${n} of ${formatSpec(x)}, got ${k}`);
    const shape = x.shape.with(-1, k);
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'int32' },
    ];
  },
  reference([input], [values, indices], { k, largest }) {
    const x = input as Flat;
    const n = x.shape[x.shape.length - 1];
    const lines = n === 0 ? 0 : x.values.length / n;
    for (let line = 0; line < lines; line++) {
      const row = x.values.subarray(line * n, (line + 1) * n);
      // NaN counts as the largest number.
      const above = (a: number, b: number) => a > b || (Number.isNaN(a) && !Number.isNaN(b));
      const order = Array.from(row.keys()).sort((i, j) => {
        const [a, b] = largest ? [row[i], row[j]] : [row[j], row[i]];
        return above(a, b) ? -1 : above(b, a) ? 1 : i - j;
      });
      for (let i = 0; i < k; i++) {
        values.values[line * k + i] = row[order[i]];
        indices.values[line * k + i] = order[i];
      }
    }
  },
  vjp: {
    saves: (_, [, indices]) => [indices],
    auxiliary: 1,
    back: ([g], [indices], _, [x]) => [() => scatterAdd(g as Tensor, -1, indices as Tensor, (x as Spec).shape)],
  },
  samples: () => [
    { inputs: [{ shape: [4, 9] }], attrs: { k: 3, largest: true } },
    { inputs: [{ shape: [2, 2, 5] }], attrs: { k: 5, largest: false } },
  ],
});

export interface TopOptions {
  readonly axis?: number;
  /** The smallest when false. */
  readonly largest?: boolean;
}

/** The k largest (or smallest) elements along `axis` in order, with their int32 indices; equal ones keep theirs. */
export function topk(x: Tensor, k: number, { axis = -1, largest = true }: TopOptions = {}): Extreme {
  const a = normalizeAxis('topk', axis, x.rank);
  const last = a === x.rank - 1;
  return scope(() => {
    const [values, indices] = call(op, [last ? x : transpose(x, a, -1)], { k, largest });
    return last ? { values, indices } : { values: transpose(values, a, -1), indices: transpose(indices, a, -1) };
  });
}

export interface SortOptions {
  readonly axis?: number;
  readonly descending?: boolean;
}

/** The elements along `axis` in ascending (or descending) order, with their int32 indices; equal ones keep theirs. */
export function sort(x: Tensor, { axis = -1, descending = false }: SortOptions = {}): Extreme {
  const a = normalizeAxis('sort', axis, x.rank);
  return topk(x, x.shape[a], { axis: a, largest: descending });
}

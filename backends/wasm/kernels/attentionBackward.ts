/**
 * Gradients of attention (Dao et al. 2022): probabilities are computed again from the log-sum-exp, for a group of
 * queries at a time. One chunk is one head of one batch element, so sums over queries have a fixed order.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { f32, f32x4, i32, type Local, type Value, v128 } from '../assembler/index.js';
import { addPack, BLOCK } from '../gemm/pack.js';
import { emitInner, emitStore, type TileShape, zeroAccumulators } from '../gemm/tile.js';
import { expNegative } from '../math.js';
import type { Runtime } from '../runtime.js';
import { element } from '../vectors.js';
import {
  addBias,
  addPadding,
  addScale,
  addScaledRow,
  addScores,
  addWeighted,
  headStrides,
  KEYS,
  maskStrides,
  padTo,
  QUERIES,
  ROW,
} from './attentionParts.js';
import { allFloat } from './views.js';

interface Attrs {
  readonly scale: number;
  readonly dropout: number;
  readonly biasGrad: boolean;
}

/** Queries whose probabilities are held at a time. */
const GROUP = 64;

const STRIDES = ['g', 'q', 'k', 'v'] as const;
type Name = (typeof STRIDES)[number];
type StrideFields = { [K in `${Name}${'' | 'Batch' | 'Row' | 'Head' | 'Step'}`]: 'i32' };

const strideFields = Object.fromEntries(
  STRIDES.flatMap((n) => ['', 'Batch', 'Row', 'Head', 'Step'].map((s) => [n + s, 'i32'])),
) as StrideFields;

const FIELDS = {
  ...strideFields,
  lse: 'i32',
  dq: 'i32',
  dk: 'i32',
  dv: 'i32',
  dbias: 'i32',
  heads: 'i32',
  queries: 'i32',
  keys: 'i32',
  width: 'i32',
  padded: 'i32',
  scale: 'f32',
  padding: 'i32',
  paddingBatch: 'i32',
  paddingKey: 'i32',
  bias: 'i32',
  biasBatch: 'i32',
  biasHead: 'i32',
  biasQuery: 'i32',
  biasKey: 'i32',
} as const;

/** Sizes in floats of the scratch arrays, in the order in which they lie. */
function scratchSizes(keys: number, width: number, padded: number): Record<ScratchName, number> {
  const rows = padTo(keys, KEYS);
  return {
    stats: QUERIES,
    columns: QUERIES * Math.max(width, padded),
    result: QUERIES * padded,
    keyPanels: rows * width,
    valuePanels: rows * width,
    keyColumns: keys * padded,
    p: GROUP * rows,
    ds: GROUP * rows,
    queryRows: GROUP * padded,
    gradientRows: GROUP * padded,
    dk: rows * padded,
    dv: rows * padded,
  };
}
const SCRATCH = [
  'stats',
  'columns',
  'result',
  'keyPanels',
  'valuePanels',
  'keyColumns',
  'p',
  'ds',
  'queryRows',
  'gradientRows',
  'dk',
  'dv',
] as const;
type ScratchName = (typeof SCRATCH)[number];

const kernel = (rt: Runtime, hasPadding: boolean, hasBias: boolean, biasGrad: boolean) =>
  rt.kernel(`attentionBackward:${hasPadding ? 'p' : ''}${hasBias ? 'b' : ''}${biasGrad ? 'g' : ''}`, FIELDS, (m) => {
    const packRows = addPack(m, KEYS);
    const packColumns = addPack(m, QUERIES);
    const scale = addScale(m);
    const scores = addScores(m);
    const mask = hasPadding ? addPadding(m) : null;
    const bias = hasBias ? addBias(m) : null;
    const weighted = addWeighted(m);
    const scaledRow = addScaledRow(m);

    /** `(s, keys, stats)`: S^T becomes the probabilities e^(S - lse), lse in the first row of stats; their sums go there. */
    const probabilities = m.func(['i32', 'i32', 'i32'], null, (f) => {
      const [s, keys, stats] = f.params as Local<'i32'>[];
      const shift = [0, 16].map((i) => f.let(v128.load(stats, i)));
      const sums = shift.map(() => f.let(v128.zero()));
      f.repeat(keys, () => {
        shift.forEach((x, i) => {
          const p = f.let(expNegative(f, f32x4.sub(v128.load(s, 16 * i), x)));
          f.storeV128(s, p, 16 * i);
          f.set(sums[i], f32x4.add(sums[i], p));
        });
        f.bump(s, ROW);
      });
      sums.forEach((sum, i) => {
        f.storeV128(stats, sum, 16 * i);
      });
    });

    /**
     * `(ds, p, keys, stats)`: ds (then dP^T) becomes P (dP - delta), delta the mean of dP under P (which is also the product
     * of dy and o). A query's score gradients sum to 0; what rounding leaves of that sum is taken out once more, because
     * some gradients (of the keys' bias) are nothing but this sum and an optimiser would follow the noise.
     */
    const scoreGradients = m.func(['i32', 'i32', 'i32', 'i32'], null, (f) => {
      const [ds, p, keys, stats] = f.params as Local<'i32'>[];
      const each = (body: (i: number, x: Local<'i32'>, y: Local<'i32'>) => void): void => {
        const [x, y] = [f.int(ds), f.int(p)];
        f.repeat(keys, () => {
          for (const i of [0, 1]) body(i, x, y);
          f.bump(x, ROW);
          f.bump(y, ROW);
        });
      };
      const sums = [0, 1].map(() => f.let(v128.zero()));
      const add = (i: number, x: Value<'v128'>): void => f.set(sums[i], f32x4.add(sums[i], x));
      /** The sums so far over those of P, 0 where these are 0; the sums start again. */
      const means = () =>
        sums.map((sum, i) => {
          const total = f.let(v128.load(stats, 16 * i));
          const mean = f.let(v128.andNot(f32x4.div(sum, total), f32x4.eq(total, v128.zero())));
          f.set(sum, v128.zero());
          return mean;
        });
      each((i, x, y) => add(i, f32x4.mul(v128.load(x, 16 * i), v128.load(y, 16 * i))));
      const delta = means();
      each((i, x, y) => {
        const gradient = f.let(f32x4.mul(v128.load(y, 16 * i), f32x4.sub(v128.load(x, 16 * i), delta[i])));
        f.storeV128(x, gradient, 16 * i);
        add(i, gradient);
      });
      const rest = means();
      each((i, x, y) => {
        f.storeV128(x, f32x4.sub(v128.load(x, 16 * i), f32x4.mul(v128.load(y, 16 * i), rest[i])), 16 * i);
      });
    });

    /** `(ds, keys, queries, out, rowBytes)`: the transpose of S^T's gradient into rows of [queries, keys]. */
    const transposeOut = m.func(['i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
      const [ds, keys, queries, out, rowBytes] = f.params as Local<'i32'>[];
      f.repeat(keys, () => {
        const [from, to] = [f.int(ds), f.int(out)];
        f.repeat(queries, () => {
          f.storeF32(to, f32.load(from));
          f.bump(from, 4);
          f.bump(to, rowBytes);
        });
        f.bump(ds, ROW);
        f.bump(out, 4);
      });
    });

    const shape: TileShape = { rows: KEYS, vectors: 2, unroll: QUERIES, aRow: ROW, aStep: 4, bStep: 32 };
    const tile = m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
      const [a, b, steps, jump, c, rowBytes, add] = f.params as Local<'i32'>[];
      const acc = zeroAccumulators(f, shape);
      emitInner(f, shape, acc, a, b, steps, jump);
      emitStore(f, acc, c, rowBytes, add);
    });
    /** `(p, blockBytes, rows, packed, queries, width, out, add)`: out [rows, width] (+)= P^T times packed [queries, width]. */
    const transposedProduct = m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
      const [p, blockBytes, rows, packed, queries, width, out, add] = f.params as Local<'i32'>[];
      const rowBytes = f.let(i32.shl(width, 2));
      const panelBytes = f.let(i32.mul(queries, 32));
      f.for(0, rows, KEYS, (row) => {
        const a = f.let(i32.add(p, i32.mul(row, ROW)));
        const b = f.int(packed);
        const c = f.let(i32.add(out, i32.mul(row, rowBytes)));
        f.for(0, width, 8, () => {
          f.call(tile, a, b, queries, blockBytes, c, rowBytes, add);
          f.bump(b, panelBytes);
          f.bump(c, 32);
        });
      });
    });

    return (f, a, chunk, scratch) => {
      const batch = f.let(i32.divU(chunk, a.heads));
      const head = f.let(i32.remU(chunk, a.heads));
      const at = (n: Name): Local<'i32'> =>
        f.let(i32.add(i32.add(a[n], i32.mul(batch, a[`${n}Batch`])), i32.mul(head, a[`${n}Head`])));
      const [g, q, k, v] = STRIDES.map(at);
      const rows = f.let(i32.and(i32.add(a.keys, KEYS - 1), -KEYS));
      const wide = f.let(i32.shrU(i32.add(a.width, 7), 3));
      const rowPanels = f.let(i32.shrU(rows, 2));
      const one = (count: Local<'i32'>, by: Local<'i32'> | number) => f.let(i32.shl(i32.mul(count, by), 2));
      const sizes: Record<ScratchName, Local<'i32'> | number> = {
        stats: ROW,
        columns: one(a.padded, QUERIES),
        result: one(a.padded, QUERIES),
        keyPanels: one(rows, a.width),
        valuePanels: one(rows, a.width),
        keyColumns: one(a.keys, a.padded),
        p: one(rows, GROUP),
        ds: one(rows, GROUP),
        queryRows: one(a.padded, GROUP),
        gradientRows: one(a.padded, GROUP),
        dk: one(rows, a.padded),
        dv: one(rows, a.padded),
      };
      const end = f.int(scratch);
      const at0 = Object.fromEntries(
        SCRATCH.map((name) => {
          const start = f.int(end);
          f.bump(end, sizes[name]);
          return [name, start];
        }),
      ) as Record<ScratchName, Local<'i32'>>;

      f.call(packRows, k, at0.keyPanels, a.keys, a.width, a.kRow, a.kStep, 0, rowPanels);
      f.call(packRows, v, at0.valuePanels, a.keys, a.width, a.vRow, a.vStep, 0, rowPanels);
      f.call(packColumns, k, at0.keyColumns, a.width, a.keys, a.kStep, a.kRow, 0, wide);
      const blockBytes = f.let(i32.mul(rows, ROW));
      const outRow = f.let(i32.shl(i32.mul(a.heads, a.width), 2));
      const outHead = f.let(i32.shl(i32.mul(head, a.width), 2));
      const out = (base: Local<'i32'>, length: Local<'i32'>, row: Local<'i32'>) =>
        f.let(i32.add(i32.add(base, outHead), i32.mul(i32.add(i32.mul(batch, length), row), outRow)));

      f.for(0, a.queries, GROUP, (start) => {
        const inGroup = f.let(i32.min(f.let(i32.sub(a.queries, start)), GROUP));
        const [p, ds] = [f.int(at0.p), f.int(at0.ds)];
        f.for(0, inGroup, QUERIES, (within) => {
          const first = f.let(i32.add(start, within));
          const count = f.let(i32.min(f.let(i32.sub(inGroup, within)), QUERIES));
          const qBlock = f.let(i32.add(q, i32.mul(first, a.qRow)));
          const gBlock = f.let(i32.add(g, i32.mul(first, a.gRow)));
          for (const i of [0, 16]) f.storeV128(at0.stats, v128.zero(), i);
          f.for(0, count, 1, (i) => {
            const index = i32.add(i32.add(i32.mul(chunk, a.queries), first), i);
            f.storeF32(element(at0.stats, i), f32.load(element(a.lse, index)));
          });
          f.call(packColumns, qBlock, at0.columns, count, a.width, a.qRow, a.qStep, 0, 1);
          f.call(scale, at0.columns, i32.shl(a.width, 1), a.scale);
          f.call(scores, at0.keyPanels, rowPanels, at0.columns, a.width, p);
          if (bias) {
            const skip = i32.add(
              i32.add(i32.mul(batch, a.biasBatch), i32.mul(head, a.biasHead)),
              i32.mul(first, a.biasQuery),
            );
            f.call(bias, p, a.keys, i32.add(a.bias, skip), a.biasQuery, a.biasKey, count);
          }
          if (mask) f.call(mask, p, a.keys, i32.add(a.padding, i32.mul(batch, a.paddingBatch)), a.paddingKey);
          f.call(probabilities, p, a.keys, at0.stats);
          f.call(packColumns, gBlock, at0.columns, count, a.width, a.gRow, a.gStep, 0, 1);
          f.call(scores, at0.valuePanels, rowPanels, at0.columns, a.width, ds);
          f.call(scoreGradients, ds, p, a.keys, at0.stats);
          if (biasGrad) {
            const index = i32.mul(i32.add(i32.mul(chunk, a.queries), first), a.keys);
            f.call(transposeOut, ds, a.keys, count, element(a.dbias, index), i32.shl(a.keys, 2));
          }
          f.call(weighted, ds, at0.keyColumns, a.keys, a.padded, at0.result);
          const [from, to] = [f.int(at0.result), out(a.dq, a.queries, first)];
          f.repeat(count, () => {
            f.call(scaledRow, from, to, a.width, a.scale);
            f.bump(from, i32.shl(a.padded, 2));
            f.bump(to, outRow);
          });
          f.bump(p, blockBytes);
          f.bump(ds, blockBytes);
        });
        const qGroup = i32.add(q, i32.mul(start, a.qRow));
        const gGroup = i32.add(g, i32.mul(start, a.gRow));
        f.call(packColumns, qGroup, at0.queryRows, a.width, inGroup, a.qStep, a.qRow, 0, wide);
        f.call(packColumns, gGroup, at0.gradientRows, a.width, inGroup, a.gStep, a.gRow, 0, wide);
        f.call(transposedProduct, at0.ds, blockBytes, rows, at0.queryRows, inGroup, a.padded, at0.dk, start);
        f.call(transposedProduct, at0.p, blockBytes, rows, at0.gradientRows, inGroup, a.padded, at0.dv, start);
      });
      const none = f.int(0);
      for (const [source, target, factor] of [
        [at0.dk, a.dk, a.scale],
        [at0.dv, a.dv, f32.const(1)],
      ] as const) {
        const [from, to] = [f.int(source), out(target, a.keys, none)];
        f.repeat(a.keys, () => {
          f.call(scaledRow, from, to, a.width, factor);
          f.bump(from, i32.shl(a.padded, 2));
          f.bump(to, outRow);
        });
      }
    };
  });

export function attentionBackward(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, attrs, outputs) {
      const [g, q, k, v, , lse, keyPadding, bias] = inputs as [
        View,
        View,
        View,
        View,
        View,
        View,
        View | null,
        View | null,
      ];
      const { scale, dropout, biasGrad } = attrs as Attrs;
      const [batches, queries, heads, width] = q.shape;
      const keys = k.shape[1];
      if (!allFloat([g, q, k, v, lse, bias], outputs) || dropout > 0) return null;
      if (queries === 0 || keys === 0 || width === 0 || width > BLOCK) return null;
      if (keyPadding && keyPadding.dtype !== 'bool' && keyPadding.dtype !== 'uint8') return null;
      if (lse.strides.some((s, i) => lse.shape[i] !== 1 && s !== [heads * queries, queries, 1][i])) return null;
      const padded = padTo(width, 8);
      const sizes = scratchSizes(keys, width, padded);
      const scratch = 4 * SCRATCH.reduce((n, name) => n + sizes[name], 0);
      return ([dq, dk, dv, dbias]) => {
        const pad = maskStrides(rt, keyPadding, [batches, keys], 1);
        const added = maskStrides(rt, bias, [batches, heads, queries, keys], 4);
        const strides = Object.fromEntries(
          [g, q, k, v].flatMap((x, i) => {
            const s = headStrides(x);
            const n = STRIDES[i];
            return [
              [n, rt.address(x)],
              [`${n}Batch`, s.batch],
              [`${n}Row`, s.row],
              [`${n}Head`, s.head],
              [`${n}Step`, s.step],
            ];
          }),
        ) as Record<keyof StrideFields, number>;
        kernel(
          rt,
          keyPadding !== null,
          bias !== null,
          biasGrad,
        )(
          {
            ...strides,
            lse: rt.address(lse),
            dq: rt.address(dq),
            dk: rt.address(dk),
            dv: rt.address(dv),
            dbias: biasGrad ? rt.address(dbias) : 0,
            heads,
            queries,
            keys,
            width,
            padded,
            scale,
            padding: pad.address,
            paddingBatch: pad.strides[0],
            paddingKey: pad.strides[1],
            bias: added.address,
            biasBatch: added.strides[0],
            biasHead: added.strides[1],
            biasQuery: added.strides[2],
            biasKey: added.strides[3],
          },
          batches * heads,
          { scratch },
        );
      };
    },
  };
}

/** softmax(scale q k^T + bias) v by blocks of eight queries; the scores of one block are all that is ever held. */
import type { Kernel, View } from '../../../core/backend.js';
import { f32, f32x4, i32, v128 } from '../assembler/index.js';
import { addPack, BLOCK } from '../gemm/pack.js';
import { log } from '../math.js';
import { type Runtime, split } from '../runtime.js';
import { chunkRange, element } from '../vectors.js';
import {
  addBias,
  addColumnSoftmax,
  addPadding,
  addScale,
  addScaledRow,
  addScores,
  addWeighted,
  headStrides,
  KEYS,
  maskStrides,
  padTo,
  panels,
  QUERIES,
  ROW,
} from './attentionParts.js';
import { allFloat } from './views.js';

interface Attrs {
  readonly scale: number;
  readonly dropout: number;
}

/** Packed keys and values held at a time. */
const PACKED_BYTES = 48 << 20;

const PACK_FIELDS = {
  k: 'i32',
  kBatch: 'i32',
  kRow: 'i32',
  kHead: 'i32',
  kStep: 'i32',
  v: 'i32',
  vBatch: 'i32',
  vRow: 'i32',
  vHead: 'i32',
  vStep: 'i32',
  heads: 'i32',
  keys: 'i32',
  width: 'i32',
  target: 'i32',
  kBytes: 'i32',
  pairBytes: 'i32',
} as const;

/** Packs keys in panels of four and values in panels of eight columns; a chunk is the keys or the values of a head. */
const packKernel = (rt: Runtime) =>
  rt.kernel('attention:pack', PACK_FIELDS, (m) => {
    const packKeys = addPack(m, KEYS);
    const packValues = addPack(m, 8);
    return (f, a, chunk) => {
      const pair = f.let(i32.shrU(chunk, 1));
      const batch = f.let(i32.divU(pair, a.heads));
      const head = f.let(i32.remU(pair, a.heads));
      const target = f.let(i32.add(a.target, i32.mul(pair, a.pairBytes)));
      f.if(
        i32.and(chunk, 1),
        () => {
          const v = i32.add(i32.add(a.v, i32.mul(batch, a.vBatch)), i32.mul(head, a.vHead));
          const count = i32.shrU(i32.add(a.width, 7), 3);
          f.call(packValues, v, i32.add(target, a.kBytes), a.width, a.keys, a.vStep, a.vRow, 0, count);
        },
        () => {
          const k = i32.add(i32.add(a.k, i32.mul(batch, a.kBatch)), i32.mul(head, a.kHead));
          const count = i32.shrU(i32.add(a.keys, KEYS - 1), 2);
          f.call(packKeys, k, target, a.keys, a.width, a.kRow, a.kStep, 0, count);
        },
      );
    };
  });

const FIELDS = {
  q: 'i32',
  qBatch: 'i32',
  qRow: 'i32',
  qHead: 'i32',
  qStep: 'i32',
  o: 'i32',
  lse: 'i32',
  packed: 'i32',
  kBytes: 'i32',
  pairBytes: 'i32',
  heads: 'i32',
  queries: 'i32',
  keys: 'i32',
  width: 'i32',
  padded: 'i32',
  blocks: 'i32',
  per: 'i32',
  groups: 'i32',
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

const attendKernel = (rt: Runtime, hasPadding: boolean, hasBias: boolean) =>
  rt.kernel(`attention:${hasPadding ? 'p' : ''}${hasBias ? 'b' : ''}`, FIELDS, (m) => {
    const pack = addPack(m, QUERIES);
    const scale = addScale(m);
    const scores = addScores(m);
    const mask = hasPadding ? addPadding(m) : null;
    const bias = hasBias ? addBias(m) : null;
    const softmax = addColumnSoftmax(m);
    const weighted = addWeighted(m);
    const scaledRow = addScaledRow(m);
    return (f, a, chunk, scratch) => {
      const pair = f.let(i32.divU(chunk, a.groups));
      const [from, to] = chunkRange(f, f.let(i32.remU(chunk, a.groups)), a.per, a.blocks);
      const batch = f.let(i32.divU(pair, a.heads));
      const head = f.let(i32.remU(pair, a.heads));
      const keysPacked = f.let(i32.add(a.packed, i32.mul(pair, a.pairBytes)));
      const valuesPacked = f.let(i32.add(keysPacked, a.kBytes));
      const keyPanels = f.let(i32.shrU(i32.add(a.keys, KEYS - 1), 2));
      // Scratch: statistics, the block's queries, its result, its scores.
      const columns = f.let(i32.add(scratch, 2 * ROW));
      const result = f.let(i32.add(columns, i32.mul(a.width, ROW)));
      const s = f.let(i32.add(result, i32.mul(a.padded, ROW)));
      const qBase = f.let(i32.add(i32.add(a.q, i32.mul(batch, a.qBatch)), i32.mul(head, a.qHead)));
      const resultRow = f.let(i32.shl(i32.mul(a.heads, a.width), 2));
      const lseBase = f.let(element(a.lse, i32.mul(pair, a.queries)));
      f.for(from, to, 1, (block) => {
        const first = f.let(i32.mul(block, QUERIES));
        const count = f.let(i32.min(f.let(i32.sub(a.queries, first)), QUERIES));
        f.call(pack, i32.add(qBase, i32.mul(first, a.qRow)), columns, count, a.width, a.qRow, a.qStep, 0, 1);
        f.call(scale, columns, i32.shl(a.width, 1), a.scale);
        f.call(scores, keysPacked, keyPanels, columns, a.width, s);
        if (bias) {
          const start = i32.add(
            i32.add(i32.mul(batch, a.biasBatch), i32.mul(head, a.biasHead)),
            i32.mul(first, a.biasQuery),
          );
          f.call(bias, s, a.keys, i32.add(a.bias, start), a.biasQuery, a.biasKey, count);
        }
        if (mask) f.call(mask, s, a.keys, i32.add(a.padding, i32.mul(batch, a.paddingBatch)), a.paddingKey);
        f.call(softmax, s, a.keys, scratch);
        f.call(weighted, s, valuesPacked, a.keys, a.padded, result);
        for (const i of [0, 16]) {
          const lse = f32x4.add(v128.load(scratch, i), log(f, v128.load(scratch, ROW + i)));
          f.storeV128(scratch, f.let(lse), i);
        }
        const from0 = f.int(result);
        const to0 = f.let(
          i32.add(
            a.o,
            i32.add(i32.mul(i32.add(i32.mul(batch, a.queries), first), resultRow), i32.shl(i32.mul(head, a.width), 2)),
          ),
        );
        f.for(0, count, 1, (i) => {
          const stat = f.let(element(scratch, i));
          f.storeF32(element(lseBase, i32.add(first, i)), f32.load(stat));
          f.call(scaledRow, from0, to0, a.width, f32.div(1, f32.load(stat, ROW)));
          f.bump(from0, i32.shl(a.padded, 2));
          f.bump(to0, resultRow);
        });
      });
    };
  });

export function attention(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, attrs, outputs) {
      const [q, k, v, keyPadding, bias] = inputs as [View, View, View, View | null, View | null];
      const { scale, dropout } = attrs as Attrs;
      const [batches, queries, heads, width] = q.shape;
      const keys = k.shape[1];
      if (!allFloat([q, k, v, bias], outputs) || dropout > 0 || keys === 0 || width === 0 || width > BLOCK) return null;
      if (keyPadding && keyPadding.dtype !== 'bool' && keyPadding.dtype !== 'uint8') return null;
      const padded = padTo(width, 8);
      const kBytes = 4 * padTo(keys, KEYS) * width;
      const pairBytes = kBytes + 4 * padded * keys;
      const blocks = panels(queries, QUERIES);
      const work = split(blocks, 2 * QUERIES * keys * width, 1_000_000);
      const scratch = 2 * ROW + (width + padded + padTo(keys, KEYS)) * ROW;
      return ([o, lse]) => {
        if (batches * queries * heads === 0) return;
        const [qs, ks, vs] = [q, k, v].map(headStrides);
        const pad = maskStrides(rt, keyPadding, [batches, keys], 1);
        const added = maskStrides(rt, bias, [batches, heads, queries, keys], 4);
        const per = Math.max(1, Math.min(batches, Math.floor(PACKED_BYTES / (heads * pairBytes))));
        rt.temporary(per * heads * pairBytes, (packed) => {
          for (let first = 0; first < batches; first += per) {
            const count = Math.min(per, batches - first) * heads;
            packKernel(rt)(
              {
                k: rt.address(k) + first * ks.batch,
                kBatch: ks.batch,
                kRow: ks.row,
                kHead: ks.head,
                kStep: ks.step,
                v: rt.address(v) + first * vs.batch,
                vBatch: vs.batch,
                vRow: vs.row,
                vHead: vs.head,
                vStep: vs.step,
                heads,
                keys,
                width,
                target: packed,
                kBytes,
                pairBytes,
              },
              2 * count,
            );
            attendKernel(rt, keyPadding !== null, bias !== null)(
              {
                q: rt.address(q) + first * qs.batch,
                qBatch: qs.batch,
                qRow: qs.row,
                qHead: qs.head,
                qStep: qs.step,
                o: rt.address(o) + 4 * first * queries * heads * width,
                lse: rt.address(lse) + 4 * first * heads * queries,
                packed,
                kBytes,
                pairBytes,
                heads,
                queries,
                keys,
                width,
                padded,
                blocks,
                per: work.per,
                groups: work.chunks,
                scale,
                padding: pad.address + first * pad.strides[0],
                paddingBatch: pad.strides[0],
                paddingKey: pad.strides[1],
                bias: added.address + first * added.strides[0],
                biasBatch: added.strides[0],
                biasHead: added.strides[1],
                biasQuery: added.strides[2],
                biasKey: added.strides[3],
              },
              count * work.chunks,
              { scratch },
            );
          }
        });
      };
    },
  };
}

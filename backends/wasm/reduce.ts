/** Sums over the middle axis of [outer, reduce, inner], in blocks whose sums are summed again: fast, and exact enough. */
import { type FunctionBuilder, f32, f32x4, f64, i32, type Local, v128 } from './assembler/index.js';
import { sumLanes } from './math.js';
import { type Runtime, split } from './runtime.js';
import { accumulators, chunkRange, eachVector, element } from './vectors.js';

/** Elements of a block when neighbours are summed, and rows of a block otherwise. */
const RUN = 16384;
const ROWS = 128;
const CHUNK = 32768;

/** y [outer, inner] = sums of x [outer, reduce, inner], all contiguous float32; addresses are byte addresses. */
export function sumMiddle(rt: Runtime, x: number, outer: number, reduce: number, inner: number, y: number): void {
  if (outer * inner === 0) return;
  if (reduce === 0) {
    rt.heap.f32.fill(0, y / 4, y / 4 + outer * inner);
    return;
  }
  const block = inner === 1 ? RUN : ROWS;
  if (reduce <= block) {
    sumBlocks(rt, x, outer, reduce, inner, reduce, y);
    return;
  }
  const blocks = Math.ceil(reduce / block);
  rt.temporary(4 * outer * blocks * inner, (partial) => {
    sumBlocks(rt, x, outer, reduce, inner, block, partial);
    sumMiddle(rt, partial, outer, blocks, inner, y);
  });
}

/** y [outer, blocks, inner]: the sums of each `block` rows. */
function sumBlocks(
  rt: Runtime,
  x: number,
  outer: number,
  reduce: number,
  inner: number,
  block: number,
  y: number,
): void {
  const blocks = Math.ceil(reduce / block);
  if (inner === 1) {
    const { per, chunks } = split(outer * blocks, block, CHUNK);
    runKernel(rt)({ x, y, count: outer * blocks, reduce, block, blocks, per }, chunks);
    return;
  }
  // Columns in whole cache lines; narrow arrays group several blocks in a chunk.
  const columnsPer = Math.min(inner, Math.max(64, Math.ceil(CHUNK / block / 16) * 16));
  const columnChunks = Math.ceil(inner / columnsPer);
  const { per, chunks } = split(outer * blocks, block * columnsPer, CHUNK);
  columnKernel(rt)(
    { x, y, count: outer * blocks, reduce, block, blocks, inner, per, columnsPer, columnChunks },
    chunks * columnChunks,
  );
}

const RUN_FIELDS = {
  x: 'i32',
  y: 'i32',
  count: 'i32',
  reduce: 'i32',
  block: 'i32',
  blocks: 'i32',
  per: 'i32',
} as const;

/** Where block number `index` of [outer, blocks] starts among the rows, and how many rows it has. */
function blockRange(
  f: FunctionBuilder,
  a: { reduce: Local<'i32'>; block: Local<'i32'>; blocks: Local<'i32'> },
  index: Local<'i32'>,
) {
  const start = f.let(i32.mul(i32.remU(index, a.blocks), a.block));
  const length = f.let(i32.min(f.let(i32.sub(a.reduce, start)), a.block));
  const row = f.let(i32.add(i32.mul(i32.divU(index, a.blocks), a.reduce), start));
  return { row, length };
}

const runKernel = (rt: Runtime) =>
  rt.kernel('sum:runs', RUN_FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.count);
    f.for(from, to, 1, (index) => {
      const { row, length } = blockRange(f, a, index);
      const p = f.let(element(a.x, row));
      const total = f.let(f64.const(0));
      f.for(0, length, 512, (at) => {
        const sums = accumulators(f, 4);
        eachVector(f, i32.min(f.let(i32.sub(length, at)), 512), [p], 4, ({ copy, load, only }) => {
          f.set(sums.all[copy], f32x4.add(sums.all[copy], only(load(p))));
        });
        f.set(total, f64.add(total, f64.promote(f32.lane(sumLanes(f, sums.total()), 0))));
      });
      f.storeF32(element(a.y, index), f32.demote(total));
    });
  });

const COLUMN_FIELDS = { ...RUN_FIELDS, inner: 'i32', columnsPer: 'i32', columnChunks: 'i32' } as const;

const columnKernel = (rt: Runtime) =>
  rt.kernel('sum:columns', COLUMN_FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, f.let(i32.divU(chunk, a.columnChunks)), a.per, a.count);
    const [first, last] = chunkRange(f, f.let(i32.remU(chunk, a.columnChunks)), a.columnsPer, a.inner);
    const rowBytes = f.let(i32.shl(a.inner, 2));
    f.for(from, to, 1, (index) => {
      const { row, length } = blockRange(f, a, index);
      const source = f.let(element(element(a.x, i32.mul(row, a.inner)), first));
      const target = f.let(element(element(a.y, i32.mul(index, a.inner)), first));
      const left = f.let(i32.sub(last, first));
      const columns = (vectors: number): void => {
        f.block((leave) => {
          f.loop((again) => {
            f.brIf(leave, i32.lt(left, vectors === 0 ? 1 : 4 * vectors));
            const n = Math.max(1, vectors);
            const sums = Array.from({ length: n }, () => f.let(v128.zero()));
            const p = f.int(source);
            f.repeat(length, () => {
              sums.forEach((sum, i) => {
                f.set(sum, f32x4.add(sum, vectors === 0 ? v128.load32Zero(p) : v128.load(p, 16 * i)));
              });
              f.bump(p, rowBytes);
            });
            sums.forEach((sum, i) => {
              if (vectors === 0) f.storeLane(4, target, sum, 0);
              else f.storeV128(target, sum, 16 * i);
            });
            const bytes = vectors === 0 ? 4 : 16 * vectors;
            f.bump(source, bytes);
            f.bump(target, bytes);
            f.bump(left, -bytes / 4);
            f.br(again);
          });
        });
      };
      columns(4);
      columns(1);
      columns(0);
    });
  });

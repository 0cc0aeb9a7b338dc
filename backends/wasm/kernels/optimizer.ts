/** AdamW over all parameters and the norm of all gradients, one launch each. */
import type { Kernel, View } from '../../../core/backend.js';
import type { AdamWStepAttrs } from '../../../core/ops/adamwStep.js';
import { f32, f32x4, f64, i32, type Local } from '../assembler/index.js';
import { sumLanes } from '../math.js';
import type { WasmBlock } from '../memory/heap.js';
import type { Runtime } from '../runtime.js';
import { eachVector, element } from '../vectors.js';
import { allFloat, count } from './views.js';

/** Elements of a chunk. */
const CHUNK = 16384;

/** Words of a table row: four addresses, elements, and three numbers of the parameter. */
const ROW_WORDS = 8;

const FIELDS = {
  table: 'i32',
  chunkTable: 'i32',
  norm: 'i32',
  maxNorm: 'f32',
  unscale: 'f32',
  beta1: 'f32',
  beta2: 'f32',
  rest1: 'f32',
  rest2: 'f32',
  eps: 'f32',
} as const;

interface Row {
  readonly ints: readonly number[];
  readonly floats: readonly number[];
}

/** Bytes of the tables for tensors of these sizes. */
function tableBytes(sizes: readonly number[]): number {
  return 4 * (sizes.length * ROW_WORDS + 2 * sizes.reduce((n, size) => n + Math.ceil(size / CHUNK), 0));
}

/** Writes tables of tensors and of chunks (tensor, first element) to an address; calls `use` with theirs. */
function fillTables(
  rt: Runtime,
  table: number,
  sizes: readonly number[],
  row: (tensor: number) => Row,
  use: (table: number, chunkTable: number, chunks: number) => void,
): void {
  const { i32: ints, f32: floats } = rt.heap;
  const chunkTable = table / 4 + sizes.length * ROW_WORDS;
  let at = chunkTable;
  sizes.forEach((size, tensor) => {
    const base = table / 4 + tensor * ROW_WORDS;
    const values = row(tensor);
    values.ints.forEach((x, i) => {
      ints[base + i] = x;
    });
    values.floats.forEach((x, i) => {
      floats[base + values.ints.length + i] = x;
    });
    for (let start = 0; start < size; start += CHUNK) {
      ints[at++] = tensor;
      ints[at++] = start;
    }
  });
  use(table, 4 * chunkTable, (at - chunkTable) / 2);
}

const adamwKernel = (rt: Runtime) =>
  rt.kernel('adamwStep', FIELDS, () => (f, a, chunk) => {
    const entry = f.let(i32.add(a.chunkTable, i32.shl(chunk, 3)));
    const row = f.let(i32.add(a.table, i32.shl(i32.load(entry), 5)));
    const start = f.let(i32.load(entry, 4));
    const [p, g, m, v] = [0, 4, 8, 12].map((offset) => f.let(element(i32.load(row, offset), start)));
    const length = f.let(i32.min(f.let(i32.sub(i32.load(row, 16), start)), CHUNK));
    const [rate, decay, root] = [20, 24, 28].map((offset) => f.let(f32x4.splat(f32.load(row, offset))));
    const clip = f.let(a.unscale);
    f.if(a.norm, () => {
      const norm = f32.mul(f32.load(a.norm), a.unscale);
      f.set(clip, f32.mul(a.unscale, f32.min(1, f32.div(a.maxNorm, f32.add(norm, 1e-6)))));
    });
    const [b1, b2, r1, r2, eps, scale] = [a.beta1, a.beta2, a.rest1, a.rest2, a.eps, clip].map((x: Local<'f32'>) =>
      f.let(f32x4.splat(x)),
    );
    eachVector(f, length, [p, g, m, v], 1, ({ load, store }) => {
      const gradient = f.let(f32x4.mul(load(g), scale));
      const first = f.let(f32x4.add(f32x4.mul(b1, load(m)), f32x4.mul(r1, gradient)));
      const second = f.let(f32x4.add(f32x4.mul(b2, load(v)), f32x4.mul(f32x4.mul(r2, gradient), gradient)));
      store(m, first);
      store(v, second);
      const divisor = f32x4.add(f32x4.div(f32x4.sqrt(second), root), eps);
      store(p, f32x4.sub(f32x4.mul(load(p), decay), f32x4.div(f32x4.mul(rate, first), divisor)));
    });
  });

/** Elements of parked moments that are brought here at a time. */
const PIECE = 1 << 18;

export function adamwStep(rt: Runtime): Kernel {
  const { heap } = rt;
  return {
    plan(inputs, attrs) {
      const { count: n, lr, weightDecay, beta1, beta2, eps, step, maxNorm } = attrs as AdamWStepAttrs;
      const { scale = 1, skipNonFinite = false, copies = false } = attrs as AdamWStepAttrs;
      if (copies || !allFloat(inputs)) return null;
      const [parameters, gradients, firsts, seconds] = [0, 1, 2, 3].map(
        (k) => inputs.slice(k * n, (k + 1) * n) as View[],
      );
      const states = [...firsts, ...seconds].map(({ block }) => block as WasmBlock);
      const sizes = parameters.map((p) => count(p.shape));
      const norm = inputs[4 * n] ?? null;
      return () => {
        // Everything before has been computed by now.
        if (skipNonFinite && norm && !Number.isFinite(heap.f32[rt.address(norm) / 4])) return;
        const numbers = { maxNorm, unscale: 1 / scale, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, eps };
        const floats = (i: number): number[] => [
          lr[i] / (1 - beta1 ** step),
          1 - lr[i] * weightDecay[i],
          Math.sqrt(1 - beta2 ** step),
        ];
        const kernel = adamwKernel(rt);
        // All memory is taken before anything is held, since states may have to make room for it.
        rt.temporary(tableBytes(sizes) + 8 * PIECE + 64, (memory) => {
          heap.hold(states);
          const launch = (rows: readonly Row[], lengths: readonly number[]): void =>
            fillTables(
              rt,
              memory + 8 * PIECE,
              lengths,
              (i) => rows[i],
              (table, chunkTable, chunks) => {
                kernel({ table, chunkTable, norm: maxNorm > 0 ? rt.addressOf(norm) : 0, ...numbers }, chunks);
              },
            );
          const isHere = (i: number): boolean => [firsts, seconds].every((views) => !parkedIn(views[i]));
          const here = sizes.map((_, i) => i).filter(isHere);
          const row = (i: number): Row => {
            const ints = [parameters, gradients, firsts, seconds].map((views) => rt.address(views[i]));
            return { ints: [...ints, sizes[i]], floats: floats(i) };
          };
          const lengths = here.map((i) => sizes[i]);
          if (here.length > 0) launch(here.map(row), lengths);
          for (let i = 0; i < n; i++) {
            if (isHere(i)) continue;
            for (let from = 0; from < sizes[i]; from += PIECE) {
              const length = Math.min(PIECE, sizes[i] - from);
              const moments = [firsts[i], seconds[i]].map((view, k) =>
                pieceOf(rt, view, from, length, memory + 4 * PIECE * k),
              );
              const ints = [parameters[i], gradients[i]].map((view) => rt.address(view) + 4 * from);
              launch(
                [{ ints: [...ints, ...moments.map(({ address }) => address), length], floats: floats(i) }],
                [length],
              );
              for (const { putBack } of moments) putBack();
            }
          }
          heap.release(states);
        });
      };
    },
  };
}

function parkedIn({ block }: View): Uint8Array | null {
  return (block as WasmBlock).parked;
}

/** Elements of moments where kernels can reach them: in place, or copied to `free` from where they are parked. */
function pieceOf(rt: Runtime, view: View, from: number, length: number, free: number) {
  const parked = parkedIn(view);
  if (!parked) return { address: rt.address(view) + 4 * from, putBack: () => {} };
  const start = 4 * (view.offset + from);
  const { u8 } = rt.heap;
  u8.set(parked.subarray(start, start + 4 * length), free);
  return { address: free, putBack: () => parked.set(u8.subarray(free, free + 4 * length), start) };
}

const NORM_FIELDS = { table: 'i32', chunkTable: 'i32', partial: 'i32' } as const;

const normKernel = (rt: Runtime) =>
  rt.kernel('globalNorm', NORM_FIELDS, () => (f, a, chunk) => {
    const entry = f.let(i32.add(a.chunkTable, i32.shl(chunk, 3)));
    const row = f.let(i32.add(a.table, i32.shl(i32.load(entry), 5)));
    const start = f.let(i32.load(entry, 4));
    const p = f.let(element(i32.load(row), start));
    const length = f.let(i32.min(f.let(i32.sub(i32.load(row, 4), start)), CHUNK));
    const total = f.let(f64.const(0));
    f.for(0, length, 256, (at) => {
      const sums = [0, 1, 2, 3].map(() => f.let(f32x4.splat(0)));
      eachVector(f, i32.min(f.let(i32.sub(length, at)), 256), [p], 4, ({ copy, load }) => {
        const x = f.let(load(p));
        f.set(sums[copy], f32x4.add(sums[copy], f32x4.mul(x, x)));
      });
      const sum = f32x4.add(f32x4.add(sums[0], sums[1]), f32x4.add(sums[2], sums[3]));
      f.set(total, f64.add(total, f64.promote(f32.lane(sumLanes(f, sum), 0))));
    });
    f.storeF64(i32.add(a.partial, i32.shl(chunk, 3)), total);
  });

export function globalNorm(rt: Runtime): Kernel {
  return {
    plan(inputs, _, outputs) {
      if (!allFloat(inputs, outputs)) return null;
      const views = inputs as readonly View[];
      return ([y]) => {
        const sizes = views.map((x) => count(x.shape));
        const row = (i: number) => ({ ints: [rt.address(views[i]), sizes[i]], floats: [] });
        rt.temporary(tableBytes(sizes), (memory) => {
          fillTables(rt, memory, sizes, row, (table, chunkTable, chunks) => {
            rt.temporary(8 * chunks, (partial) => {
              normKernel(rt)({ table, chunkTable, partial }, chunks);
              let total = 0;
              for (const part of rt.heap.f64.subarray(partial / 8, partial / 8 + chunks)) total += part;
              rt.heap.f32[rt.address(y) / 4] = Math.sqrt(total);
            });
          });
        });
      };
    },
  };
}

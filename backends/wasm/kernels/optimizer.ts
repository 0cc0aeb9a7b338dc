/** AdamW over all parameters and the norm of all gradients, one launch each. */
import type { Kernel, View } from '../../../core/backend.js';
import type { AdamWStepAttrs } from '../../../core/ops/adamwStep.js';
import { f32, f32x4, f64, i32, type Local } from '../assembler/index.js';
import { sumLanes } from '../math.js';
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

/** Writes tables of tensors and of chunks (tensor, first element); calls `use` with their addresses. */
function withTables(
  rt: Runtime,
  sizes: readonly number[],
  row: (tensor: number) => { readonly ints: readonly number[]; readonly floats: readonly number[] },
  use: (table: number, chunkTable: number, chunks: number) => void,
): void {
  const chunks = sizes.reduce((n, size) => n + Math.ceil(size / CHUNK), 0);
  const tableWords = sizes.length * ROW_WORDS;
  rt.temporary(4 * (tableWords + 2 * chunks) + 64, (table) => {
    const { i32: ints, f32: floats } = rt.heap;
    let at = table / 4 + tableWords;
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
    use(table, table + 4 * tableWords, chunks);
  });
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

export function adamwStep(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs) {
      const { count: n, lr, weightDecay, beta1, beta2, eps, step, maxNorm } = attrs as AdamWStepAttrs;
      const { scale = 1, skipNonFinite = false, copies = false } = attrs as AdamWStepAttrs;
      if (copies || !allFloat(inputs)) return null;
      const views = inputs.slice(0, 4 * n) as View[];
      return () => {
        const given = inputs[4 * n];
        // Everything before has been computed by now.
        if (skipNonFinite && given && !Number.isFinite(rt.heap.f32[rt.address(given) / 4])) return;
        const correction1 = 1 - beta1 ** step;
        const correction2 = Math.sqrt(1 - beta2 ** step);
        const sizes = views.slice(0, n).map((p) => count(p.shape));
        const row = (i: number) => ({
          ints: [...[0, 1, 2, 3].map((k) => rt.address(views[i + k * n])), sizes[i]],
          floats: [lr[i] / correction1, 1 - lr[i] * weightDecay[i], correction2],
        });
        withTables(rt, sizes, row, (table, chunkTable, chunks) => {
          const norm = maxNorm > 0 ? rt.addressOf(inputs[4 * n] ?? null) : 0;
          adamwKernel(rt)(
            {
              table,
              chunkTable,
              norm,
              maxNorm,
              unscale: 1 / scale,
              beta1,
              beta2,
              rest1: 1 - beta1,
              rest2: 1 - beta2,
              eps,
            },
            chunks,
          );
        });
      };
    },
  };
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
        withTables(rt, sizes, row, (table, chunkTable, chunks) => {
          rt.temporary(8 * chunks, (partial) => {
            normKernel(rt)({ table, chunkTable, partial }, chunks);
            let total = 0;
            for (const part of rt.heap.f64.subarray(partial / 8, partial / 8 + chunks)) total += part;
            rt.heap.f32[rt.address(y) / 4] = Math.sqrt(total);
          });
        });
      };
    },
  };
}

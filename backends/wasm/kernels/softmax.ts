/** softmax and logSoftmax over the last axis, and their gradients. */
import type { Kernel, View } from '../../../core/backend.js';
import { type FunctionBuilder, f32x4, i32, type Local, type Value } from '../assembler/index.js';
import { expNegative, log, maxLanes, sumLanes } from '../math.js';
import { type Runtime, split } from '../runtime.js';
import { accumulators, chunkRange, eachVector, element } from '../vectors.js';
import { allFloat, count } from './views.js';

const FIELDS = { a: 'i32', b: 'i32', y: 'i32', rows: 'i32', width: 'i32', per: 'i32' } as const;

/** Body for one row: addresses of a, b and y. */
type RowBody = (f: FunctionBuilder, width: Local<'i32'>, a: Local<'i32'>, b: Local<'i32'>, y: Local<'i32'>) => void;

function rowKernel(rt: Runtime, name: string, row: RowBody): Kernel {
  return {
    plan(inputs, _, outputs) {
      const views = inputs as readonly View[];
      if (!allFloat(inputs, outputs)) return null;
      const { shape } = outputs[0];
      const width = shape[shape.length - 1];
      const rows = count(shape.slice(0, -1));
      return ([y]) => {
        if (rows * width === 0) return;
        const { per, chunks } = split(rows, 4 * width, 32768);
        const launch = rt.kernel(name, FIELDS, () => (f, p, chunk) => {
          const [from, to] = chunkRange(f, chunk, p.per, p.rows);
          f.for(from, to, 1, (index) => {
            const at = f.let(i32.mul(index, p.width));
            row(
              f,
              p.width,
              ...([p.a, p.b, p.y].map((base) => f.let(element(base, at))) as [
                Local<'i32'>,
                Local<'i32'>,
                Local<'i32'>,
              ]),
            );
          });
        });
        launch(
          { a: rt.address(views[0]), b: rt.addressOf(views[1] ?? null), y: rt.address(y), rows, width, per },
          chunks,
        );
      };
    },
  };
}

/** Largest element of a row in all lanes. */
export function rowMaximum(f: FunctionBuilder, width: Local<'i32'>, x: Local<'i32'>): Local<'v128'> {
  const p = f.int(x);
  const tops = accumulators(f, 2, -Infinity).all;
  eachVector(f, width, [p], 2, ({ copy, load, only }) => {
    f.set(tops[copy], f32x4.max(tops[copy], only(load(p), -Infinity)));
  });
  return f.let(maxLanes(f, f32x4.max(tops[0], tops[1])));
}

/** Sum over a row of what `term` makes of the vectors, in all lanes. */
export function rowSum(
  f: FunctionBuilder,
  width: Local<'i32'>,
  addresses: readonly Local<'i32'>[],
  term: (vectors: Local<'v128'>[]) => Value<'v128'>,
): Local<'v128'> {
  const pointers = addresses.map((x) => f.int(x));
  const sums = accumulators(f, 4);
  eachVector(f, width, pointers, 4, ({ copy, load, only }) => {
    const x = term(pointers.map((p) => f.let(load(p))));
    f.set(sums.all[copy], f32x4.add(sums.all[copy], only(x)));
  });
  return f.let(sumLanes(f, sums.total()));
}

export const softmax = (rt: Runtime): Kernel =>
  rowKernel(rt, 'softmax', (f, width, x, _, y) => {
    const top = rowMaximum(f, width, x);
    const [p, q] = [f.int(x), f.int(y)];
    const sums = accumulators(f, 2);
    eachVector(f, width, [p, q], 2, ({ copy, load, store, only }) => {
      const e = f.let(expNegative(f, f32x4.sub(load(p), top)));
      store(q, e);
      f.set(sums.all[copy], f32x4.add(sums.all[copy], only(e)));
    });
    const total = f.let(sumLanes(f, sums.total()));
    const r = f.int(y);
    eachVector(f, width, [r], 2, ({ load, store }) => store(r, f32x4.div(load(r), total)));
  });

export const logSoftmax = (rt: Runtime): Kernel =>
  rowKernel(rt, 'logSoftmax', (f, width, x, _, y) => {
    const top = rowMaximum(f, width, x);
    const total = rowSum(f, width, [x], ([v]) => expNegative(f, f32x4.sub(v, top)));
    const logTotal = f.let(log(f, total));
    const [p, q] = [f.int(x), f.int(y)];
    eachVector(f, width, [p, q], 2, ({ load, store }) => store(q, f32x4.sub(f32x4.sub(load(p), top), logTotal)));
  });

/** dx = y (dy - sum(dy y)) */
export const softmaxBackward = (rt: Runtime): Kernel =>
  rowKernel(rt, 'softmaxBackward', (f, width, dy, y, dx) => {
    const dot = rowSum(f, width, [dy, y], ([g, v]) => f32x4.mul(g, v));
    const [p, q, r] = [f.int(dy), f.int(y), f.int(dx)];
    eachVector(f, width, [p, q, r], 2, ({ load, store }) => store(r, f32x4.mul(load(q), f32x4.sub(load(p), dot))));
  });

/** dx = dy - e^y sum(dy) */
export const logSoftmaxBackward = (rt: Runtime): Kernel =>
  rowKernel(rt, 'logSoftmaxBackward', (f, width, dy, y, dx) => {
    const total = rowSum(f, width, [dy], ([g]) => g);
    const [p, q, r] = [f.int(dy), f.int(y), f.int(dx)];
    eachVector(f, width, [p, q, r], 1, ({ load, store }) => {
      store(r, f32x4.sub(load(p), f32x4.mul(expNegative(f, load(q)), total)));
    });
  });

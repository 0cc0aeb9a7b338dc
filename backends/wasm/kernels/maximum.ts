/** The largest element along an axis and where it is; the first of equals, NaN wins. */
import type { Kernel, View } from '../../../core/backend.js';
import { f32, i32 } from '../assembler/index.js';
import { type Runtime, split } from '../runtime.js';
import { chunkRange, element } from '../vectors.js';
import { allFloat, count } from './views.js';

const FIELDS = {
  x: 'i32',
  values: 'i32',
  indices: 'i32',
  lines: 'i32',
  length: 'i32',
  inner: 'i32',
  per: 'i32',
} as const;

const kernel = (rt: Runtime) =>
  rt.kernel('max', FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.lines);
    const step = f.let(i32.shl(a.inner, 2));
    f.for(from, to, 1, (line) => {
      const outer = f.let(i32.divU(line, a.inner));
      const within = i32.sub(line, i32.mul(outer, a.inner));
      const p = f.let(element(a.x, i32.add(i32.mul(i32.mul(outer, a.length), a.inner), within)));
      const best = f.let(f32.load(p));
      const index = f.int(0);
      f.for(1, a.length, 1, (i) => {
        f.bump(p, step);
        const x = f.let(f32.load(p));
        const nanFirst = i32.and(f32.ne(x, x), f32.eq(best, best));
        f.if(i32.or(f32.gt(x, best), nanFirst), () => {
          f.set(best, x);
          f.set(index, i);
        });
      });
      f.if(a.values, () => f.storeF32(element(a.values, line), best));
      f.storeI32(element(a.indices, line), index);
    });
  });

function run(rt: Runtime, x: View, axis: number, values: View | null, indices: View): void {
  const length = x.shape[axis];
  const inner = count(x.shape.slice(axis + 1));
  const lines = count(x.shape.slice(0, axis)) * inner;
  const { per, chunks } = split(lines, length, 8192);
  kernel(rt)(
    { x: rt.address(x), values: rt.addressOf(values), indices: rt.address(indices), lines, length, inner, per },
    chunks,
  );
}

export function max(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs) {
      const [x] = inputs as [View];
      const { axis } = attrs as { readonly axis: number };
      return allFloat([x]) ? ([values, indices]) => run(rt, x, axis, values, indices) : null;
    },
  };
}

export function argmax(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs) {
      const [x] = inputs as [View];
      const { axis } = attrs as { readonly axis: number };
      return allFloat([x]) ? ([indices]) => run(rt, x, axis, null, indices) : null;
    },
  };
}

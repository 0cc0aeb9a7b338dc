/** Philox4x32-10 (Salmon et al. 2011): element i is word i % 4 of the block at counter + floor(i / 4). */
import type { Kernel } from '../../../core/backend.js';
import { i32, i64, type Local } from '../assembler/index.js';
import { type Runtime, split } from '../runtime.js';
import { chunkRange, element } from '../vectors.js';
import { count } from './views.js';

interface Attrs {
  readonly key: readonly [number, number];
  readonly counter: readonly [number, number];
}

const FIELDS = {
  y: 'i32',
  count: 'i32',
  blocks: 'i32',
  per: 'i32',
  k0: 'i32',
  k1: 'i32',
  low: 'i32',
  high: 'i32',
} as const;

const kernel = (rt: Runtime) =>
  rt.kernel('randomBits', FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.blocks);
    const base = f.let(i64.add(i64.extendU(a.low), i64.shl(i64.extendU(a.high), i64.const(32n))));
    f.for(from, to, 1, (block) => {
      const counter = f.let(i64.add(base, i64.extendU(block)));
      const c = [
        f.let(i32.wrap(counter)),
        f.let(i32.wrap(i64.shrU(counter, i64.const(32n)))),
        f.int(0),
        f.int(0),
      ] as Local<'i32'>[];
      const [k0, k1] = [f.int(a.k0), f.int(a.k1)];
      f.repeat(10, () => {
        const first = f.let(i64.mul(i64.extendU(c[0]), i64.const(0xd2511f53n)));
        const second = f.let(i64.mul(i64.extendU(c[2]), i64.const(0xcd9e8d57n)));
        const high = (x: Local<'i64'>) => i32.wrap(i64.shrU(x, i64.const(32n)));
        f.set(c[0], i32.xor(i32.xor(high(second), c[1]), k0));
        f.set(c[1], i32.wrap(second));
        f.set(c[2], i32.xor(i32.xor(high(first), c[3]), k1));
        f.set(c[3], i32.wrap(first));
        f.bump(k0, 0x9e3779b9 | 0);
        f.bump(k1, 0xbb67ae85 | 0);
      });
      const at = f.let(i32.shl(block, 2));
      c.forEach((word, i) => {
        f.if(i32.lt(i32.add(at, i), a.count), () => f.storeI32(element(a.y, i32.add(at, i)), word));
      });
    });
  });

export function randomBits(rt: Runtime): Kernel {
  return {
    plan(_, attrs, [output]) {
      const { key, counter } = attrs as Attrs;
      const n = count(output.shape);
      return ([y]) => {
        const blocks = Math.ceil(n / 4);
        const { per, chunks } = split(blocks, 30, 20_000);
        kernel(rt)(
          { y: rt.address(y), count: n, blocks, per, k0: key[0], k1: key[1], low: counter[0], high: counter[1] },
          chunks,
        );
      };
    },
  };
}

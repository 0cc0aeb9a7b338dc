/** Products of few rows, without packing. */
import { type FunctionBuilder, f32x4, i32, type Local, type Value, v128 } from '../assembler/index.js';
import type { Launch, Runtime } from '../runtime.js';
import { type Epilogue, emitEpilogue, epilogueKey, storePart } from './epilogue.js';
import { turn } from './pack.js';
import { zeroAccumulators } from './tile.js';

const DOT_FIELDS = {
  x: 'i32',
  xRow: 'i32',
  rows: 'i32',
  w: 'i32',
  wRow: 'i32',
  columns: 'i32',
  depth: 'i32',
  c: 'i32',
  cRow: 'i32',
  per: 'i32',
  bias: 'i32',
  kept: 'i32',
  residual: 'i32',
} as const;

/** Few rows against a matrix whose inner index is contiguous, unpacked: every result is a dot product. */
export function dotKernel(rt: Runtime, epilogue: Epilogue): Launch<typeof DOT_FIELDS> {
  return rt.kernel(`gemm:dot:${epilogueKey(epilogue)}`, DOT_FIELDS, () => (f, p, chunk) => {
    const from = f.let(i32.mul(chunk, p.per));
    const to = f.let(i32.min(f.let(i32.add(from, p.per)), p.columns));
    f.for(from, to, 4, (n) => {
      const left = f.let(i32.sub(p.columns, n));
      f.for(0, p.rows, 1, (row) => {
        const x = f.let(i32.add(p.x, i32.mul(row, p.xRow)));
        const w: Local<'i32'>[] = [f.let(i32.add(p.w, i32.mul(n, p.wRow)))];
        // Behind the last column the last one is read again; the result is not stored.
        for (let i = 1; i < 4; i++) {
          w.push(f.let(i32.add(w[i - 1], i32.select(i32.gt(left, i), p.wRow, 0))));
        }
        const acc = zeroAccumulators(f, { rows: 4, vectors: 2 });
        const step = (u: number, single: boolean): void => {
          const v = f.let(single ? v128.load32Zero(x) : v128.load(x, 16 * u));
          w.forEach((pointer, i) => {
            const weight = single ? v128.load32Zero(pointer) : v128.load(pointer, 16 * u);
            f.set(acc[i][u], f32x4.add(acc[i][u], f32x4.mul(v, weight)));
          });
        };
        const advance = (bytes: number): void => {
          for (const pointer of [x, ...w]) f.bump(pointer, bytes);
        };
        f.repeat(i32.shrU(p.depth, 3), () => {
          step(0, false);
          step(1, false);
          advance(32);
        });
        f.repeat(i32.and(p.depth, 7), () => {
          step(0, true);
          advance(4);
        });
        const sums = acc.map(([low, high]) => f.let(f32x4.add(low, high)));
        const y = f.let(sumColumns(f, sums));
        const c = f.let(i32.add(i32.add(p.c, i32.mul(row, p.cRow)), i32.shl(n, 2)));
        const at = { bias: i32.add(p.bias, i32.shl(n, 2)), kept: p.kept, residual: p.residual };
        emitEpilogue(f, epilogue, y, c, at, (address, value) => {
          f.if(
            i32.ge(left, 4),
            () => f.storeV128(address, value),
            () => storePart(f, address, value, left),
          );
        });
      });
    });
  });
}

/** [sum of a, sum of b, sum of c, sum of d] */
function sumColumns(f: FunctionBuilder, rows: readonly Local<'v128'>[]): Value<'v128'> {
  const [a, b, c, d] = turn(f, rows);
  return f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
}

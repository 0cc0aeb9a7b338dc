/**
 * Packing: a strided matrix becomes panels of `width` rows in which the elements of one inner index lie side by side,
 * cut into blocks of the inner index so that what the micro-kernel reads is one stream.
 */
import {
  type Func,
  type FunctionBuilder,
  f32,
  i32,
  i32x4,
  type Local,
  type ModuleBuilder,
  v128,
} from '../assembler/index.js';

/** Inner indices of a block: partial sums this long go to memory, which also keeps rounding errors small. */
export const BLOCK = 256;

/**
 * Adds `pack(source, target, count, depth, rowBytes, stepBytes, panelFrom, panelTo)`: packs panels of `count` rows over
 * `depth` inner indices. Panel p of the block from k0 lies at 4 (k0 padded + p width blockDepth), padded = count
 * rounded up to the width; rows behind the last are 0.
 */
export function addPack(m: ModuleBuilder, width: number): Func {
  return m.func(['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'], null, (f) => {
    const [source, target, count, depth, rowBytes, stepBytes, from, to] = f.params as Local<'i32'>[];
    const padded = f.let(i32.mul(i32.divU(i32.add(count, width - 1), width), width));
    f.for(from, to, 1, (panel) => {
      const rows = f.let(i32.min(f.let(i32.sub(count, i32.mul(panel, width))), width));
      const start = f.let(i32.add(source, i32.mul(i32.mul(panel, width), rowBytes)));
      f.for(0, depth, BLOCK, (k0) => {
        const steps = f.let(i32.min(f.let(i32.sub(depth, k0)), BLOCK));
        const block = i32.add(target, i32.shl(i32.mul(k0, padded), 2));
        const d = f.let(i32.add(block, i32.shl(i32.mul(i32.mul(panel, width), steps), 2)));
        const s = f.let(i32.add(start, i32.mul(k0, stepBytes)));
        f.if(
          i32.eq(rows, width),
          () => {
            f.if(
              i32.eq(stepBytes, 4),
              () => transpose(f, width, s, d, rowBytes, steps),
              () => {
                f.if(
                  i32.eq(rowBytes, 4),
                  () => copyRuns(f, width, s, d, stepBytes, steps),
                  () => gather(f, width, s, d, rowBytes, stepBytes, steps, null),
                );
              },
            );
          },
          () => gather(f, width, s, d, rowBytes, stepBytes, steps, rows),
        );
      });
    });
  });
}

/** Rows whose inner index is contiguous: 4 x 4 blocks are turned in registers. */
function transpose(
  f: FunctionBuilder,
  width: number,
  s: Local<'i32'>,
  d: Local<'i32'>,
  rowBytes: Local<'i32'>,
  steps: Local<'i32'>,
): void {
  const pointers = [s];
  for (let i = 1; i < width; i++) pointers.push(f.let(i32.add(pointers[i - 1], rowBytes)));
  f.repeat(i32.shrU(steps, 2), () => {
    for (let i = 0; i < width; i += 4) {
      const group = pointers.slice(i, i + 4).map((p) => f.let(v128.load(p)));
      turn(f, group).forEach((v, k) => {
        const at = 4 * (k * width + i);
        if (group.length === 4) f.storeV128(d, v, at);
        else f.storeLane(8, d, v, 0, at);
      });
    }
    for (const p of pointers) f.bump(p, 16);
    f.bump(d, 16 * width);
  });
  f.repeat(i32.and(steps, 3), () => {
    pointers.forEach((p, i) => {
      f.storeF32(d, f32.load(p), 4 * i);
      f.bump(p, 4);
    });
    f.bump(d, 4 * width);
  });
}

/** The transpose of a 4 x 4 block, or of 2 rows of 4 (then in the low halves). */
export function turn(f: FunctionBuilder, rows: readonly Local<'v128'>[]): Local<'v128'>[] {
  if (rows.length === 2) {
    const low = f.let(i32x4.shuffle(rows[0], rows[1], [0, 4, 1, 5]));
    const high = f.let(i32x4.shuffle(rows[0], rows[1], [2, 6, 3, 7]));
    return [low, f.let(i32x4.shuffle(low, low, [2, 3, 2, 3])), high, f.let(i32x4.shuffle(high, high, [2, 3, 2, 3]))];
  }
  const [a, b, c, d] = rows;
  const ab = f.let(i32x4.shuffle(a, b, [0, 4, 1, 5]));
  const cd = f.let(i32x4.shuffle(c, d, [0, 4, 1, 5]));
  const ab2 = f.let(i32x4.shuffle(a, b, [2, 6, 3, 7]));
  const cd2 = f.let(i32x4.shuffle(c, d, [2, 6, 3, 7]));
  return [
    f.let(i32x4.shuffle(ab, cd, [0, 1, 4, 5])),
    f.let(i32x4.shuffle(ab, cd, [2, 3, 6, 7])),
    f.let(i32x4.shuffle(ab2, cd2, [0, 1, 4, 5])),
    f.let(i32x4.shuffle(ab2, cd2, [2, 3, 6, 7])),
  ];
}

/** Rows side by side: every step copies a run of `width` elements. */
function copyRuns(
  f: FunctionBuilder,
  width: number,
  s: Local<'i32'>,
  d: Local<'i32'>,
  stepBytes: Local<'i32'>,
  steps: Local<'i32'>,
): void {
  f.repeat(steps, () => {
    for (let i = 0; i < width; i += 4) {
      if (i + 4 <= width) f.storeV128(d, v128.load(s, 4 * i), 4 * i);
      else f.storeLane(8, d, v128.load64Zero(s, 4 * i), 0, 4 * i);
    }
    f.bump(s, stepBytes);
    f.bump(d, 4 * width);
  });
}

/** Any strides, and the last panel of fewer rows. */
function gather(
  f: FunctionBuilder,
  width: number,
  s: Local<'i32'>,
  d: Local<'i32'>,
  rowBytes: Local<'i32'>,
  stepBytes: Local<'i32'>,
  steps: Local<'i32'>,
  rows: Local<'i32'> | null,
): void {
  f.repeat(steps, () => {
    const p = f.int(s);
    for (let i = 0; i < width; i++) {
      const move = (): void => {
        f.storeF32(d, f32.load(p), 4 * i);
        f.bump(p, rowBytes);
      };
      if (rows) f.if(i32.gt(rows, i), move, () => f.storeF32(d, 0, 4 * i));
      else move();
    }
    f.bump(s, stepBytes);
    f.bump(d, 4 * width);
  });
}

/** Layer normalisation over the last axis, plain and with two sets of weights split by row, forward and backward. */
import type { Kernel, View } from '../../../core/backend.js';
import { type FunctionBuilder, f32, f32x4, i32, type Local } from '../assembler/index.js';
import { sumMiddle } from '../reduce.js';
import { type Runtime, split as splitWork } from '../runtime.js';
import { chunkRange, eachVector, element } from '../vectors.js';
import { rowSum } from './softmax.js';
import { allFloat, count } from './views.js';

/** Rows `start` to `start + length - 1` of every batch element of [batch, all, width]. */
interface Segment {
  readonly batch: number;
  readonly all: number;
  readonly start: number;
  readonly length: number;
}

const SEGMENT_FIELDS = { rows: 'i32', all: 'i32', start: 'i32', length: 'i32', width: 'i32', per: 'i32' } as const;

const segmentValues = (s: Segment, width: number, per: number) => ({
  rows: s.batch * s.length,
  all: s.all,
  start: s.start,
  length: s.length,
  width,
  per,
});

/** Number of a segment's row among all rows. */
function rowNumber(
  f: FunctionBuilder,
  a: { all: Local<'i32'>; start: Local<'i32'>; length: Local<'i32'> },
  index: Local<'i32'>,
): Local<'i32'> {
  const batch = f.let(i32.divU(index, a.length));
  const within = i32.sub(index, i32.mul(batch, a.length));
  return f.let(i32.add(i32.add(i32.mul(batch, a.all), a.start), within));
}

interface Forward {
  readonly x: number;
  readonly y: number;
  readonly mean: number;
  readonly rstd: number;
  readonly width: number;
  readonly eps: number;
}

function forward(rt: Runtime, s: Segment, p: Forward, w: number, b: number): void {
  if (s.batch * s.length === 0) return;
  const fields = {
    ...SEGMENT_FIELDS,
    x: 'i32',
    y: 'i32',
    mean: 'i32',
    rstd: 'i32',
    w: 'i32',
    b: 'i32',
    eps: 'f32',
  } as const;
  const launch = rt.kernel(`layerNorm:${w ? 'w' : ''}${b ? 'b' : ''}`, fields, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.rows);
    const scale = f.let(f32x4.div(f32x4.splat(1), f32x4.splat(f32.convert(a.width))));
    f.for(from, to, 1, (index) => {
      const row = rowNumber(f, a, index);
      const at = f.let(i32.mul(row, a.width));
      const x = f.let(element(a.x, at));
      const mean = f.let(
        f32x4.mul(
          rowSum(f, a.width, [x], ([v]) => v),
          scale,
        ),
      );
      const squares = rowSum(f, a.width, [x], ([v]) => {
        const d = f.let(f32x4.sub(v, mean));
        return f32x4.mul(d, d);
      });
      const variance = f32x4.add(f32x4.mul(squares, scale), f32x4.splat(a.eps));
      const rstd = f.let(f32x4.div(f32x4.splat(1), f32x4.sqrt(variance)));
      f.storeF32(element(a.mean, row), f32.lane(mean, 0));
      f.storeF32(element(a.rstd, row), f32.lane(rstd, 0));
      const [q, weight, bias] = [f.let(element(a.y, at)), f.int(a.w), f.int(a.b)];
      eachVector(f, a.width, [x, q, weight, bias], 2, ({ load, store }) => {
        const y = f.let(f32x4.mul(f32x4.sub(load(x), mean), rstd));
        if (w) f.set(y, f32x4.mul(y, load(weight)));
        if (b) f.set(y, f32x4.add(y, load(bias)));
        store(q, y);
      });
    });
  });
  const { per, chunks } = splitWork(s.batch * s.length, 3 * p.width, 32768);
  launch({ ...segmentValues(s, p.width, per), ...p, w, b }, chunks);
}

interface Backward {
  readonly dy: number;
  readonly x: number;
  readonly mean: number;
  readonly rstd: number;
  readonly dx: number;
  readonly width: number;
}

/** Rows whose contributions to the weights' gradients are summed before anything else. */
const ROWS = 32;

function backward(rt: Runtime, s: Segment, p: Backward, w: number, dw: number, db: number): void {
  const fields = {
    ...SEGMENT_FIELDS,
    dy: 'i32',
    x: 'i32',
    mean: 'i32',
    rstd: 'i32',
    dx: 'i32',
    w: 'i32',
    dw: 'i32',
    db: 'i32',
  } as const;
  const launch = rt.kernel(`layerNormBackward:${w ? 'w' : ''}`, fields, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.rows);
    const scale = f.let(f32x4.div(f32x4.splat(1), f32x4.splat(f32.convert(a.width))));
    const partial = f.let(i32.mul(chunk, a.width));
    const [dwStart, dbStart] = [f.let(element(a.dw, partial)), f.let(element(a.db, partial))];
    f.for(from, to, 1, (index) => {
      const row = rowNumber(f, a, index);
      const at = f.let(i32.mul(row, a.width));
      const [dy, x, dx] = [a.dy, a.x, a.dx].map((base) => f.let(element(base, at)));
      const mean = f.let(f32x4.splat(f32.load(element(a.mean, row))));
      const rstd = f.let(f32x4.splat(f32.load(element(a.rstd, row))));
      const weights = w ? [a.w] : [];
      const weighted = (g: Local<'v128'>, weight: Local<'v128'> | undefined) => (weight ? f32x4.mul(g, weight) : g);
      const average = f.let(
        f32x4.mul(
          rowSum(f, a.width, [dy, ...weights], ([g, v]) => weighted(g, v)),
          scale,
        ),
      );
      const projection = f.let(
        f32x4.mul(
          rowSum(f, a.width, [dy, x, ...weights], ([g, v, weight]) =>
            f32x4.mul(weighted(g, weight), f32x4.mul(f32x4.sub(v, mean), rstd)),
          ),
          scale,
        ),
      );
      const [pw, pdw, pdb] = [f.int(a.w), f.int(dwStart), f.int(dbStart)];
      const first = f.let(i32.eq(index, from));
      const pass = (fresh: boolean): void =>
        eachVector(f, a.width, [dy, x, dx, pw, pdw, pdb], 1, ({ load, store }) => {
          const g = f.let(load(dy));
          const normal = f.let(f32x4.mul(f32x4.sub(load(x), mean), rstd));
          const own = f.let(f32x4.mul(g, normal));
          store(pdw, fresh ? own : f32x4.add(load(pdw), own));
          store(pdb, fresh ? g : f32x4.add(load(pdb), g));
          const scaled = w ? f32x4.mul(g, load(pw)) : g;
          store(dx, f32x4.mul(rstd, f32x4.sub(f32x4.sub(scaled, average), f32x4.mul(normal, projection))));
        });
      f.if(
        first,
        () => pass(true),
        () => pass(false),
      );
    });
  });
  const rows = s.batch * s.length;
  const chunks = Math.ceil(rows / ROWS);
  rt.temporary(8 * chunks * p.width, (partial) => {
    const second = partial + 4 * chunks * p.width;
    launch({ ...segmentValues(s, p.width, ROWS), ...p, w, dw: partial, db: second }, chunks);
    sumMiddle(rt, partial, 1, chunks, p.width, dw);
    sumMiddle(rt, second, 1, chunks, p.width, db);
  });
}

const whole = (x: View): Segment => ({
  batch: 1,
  all: count(x.shape.slice(0, -1)),
  start: 0,
  length: count(x.shape.slice(0, -1)),
});

/** The rows before and from `split`. */
function parts(x: View, split: number): [Segment, Segment] {
  const [batch, all] = x.shape;
  return [
    { batch, all, start: 0, length: split },
    { batch, all, start: split, length: all - split },
  ];
}

const widthOf = (x: View): number => x.shape[x.shape.length - 1];

export function layerNorm(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [x, w, b] = inputs as [View, View | null, View | null];
      if (!allFloat(inputs, outputs)) return null;
      const { eps } = attrs as { readonly eps: number };
      return ([y, mean, rstd]) => {
        const [at, out, means, rstds] = [x, y, mean, rstd].map((v) => rt.address(v));
        const p = { x: at, y: out, mean: means, rstd: rstds, width: widthOf(x), eps };
        forward(rt, whole(x), p, rt.addressOf(w), rt.addressOf(b));
      };
    },
  };
}

export function multiwayLayerNorm(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [x, wA, bA, wB, bB] = inputs as [View, View | null, View | null, View | null, View | null];
      if (!allFloat(inputs, outputs)) return null;
      const { eps, split } = attrs as { readonly eps: number; readonly split: number };
      return ([y, mean, rstd]) => {
        const [at, out, means, rstds] = [x, y, mean, rstd].map((v) => rt.address(v));
        const p = { x: at, y: out, mean: means, rstd: rstds, width: widthOf(x), eps };
        const [before, after] = parts(x, split);
        forward(rt, before, p, rt.addressOf(wA), rt.addressOf(bA));
        forward(rt, after, p, rt.addressOf(wB), rt.addressOf(bB));
      };
    },
  };
}

function backwardKernel(rt: Runtime, segments: (x: View, attrs: object) => readonly Segment[]): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dy, x, mean, rstd, ...weights] = inputs as [View, View, View, View, ...(View | null)[]];
      if (!allFloat(inputs, outputs)) return null;
      return ([dx, ...gradients]) => {
        const [g, at, means, rstds, out] = [dy, x, mean, rstd, dx].map((v) => rt.address(v));
        const p = { dy: g, x: at, mean: means, rstd: rstds, dx: out, width: widthOf(x) };
        segments(x, attrs).forEach((s, i) => {
          backward(
            rt,
            s,
            p,
            rt.addressOf(weights[i] ?? null),
            rt.address(gradients[2 * i]),
            rt.address(gradients[2 * i + 1]),
          );
        });
      };
    },
  };
}

export const layerNormBackward = (rt: Runtime): Kernel => backwardKernel(rt, (x) => [whole(x)]);

export const multiwayLayerNormBackward = (rt: Runtime): Kernel =>
  backwardKernel(rt, (x, attrs) => parts(x, (attrs as { readonly split: number }).split));

/**
 * Reductions over any axes of any strides. A workgroup makes a few results, several invocations each; where there are
 * few results, ranges of what is reduced go to workgroups of their own and a second pass joins them. The order in which
 * elements meet depends on the shape alone, so results are the same every time.
 */
import type { View } from '../../core/backend.js';
import type { DType } from '../../core/dtype.js';
import { contiguousStrides, sizeOf } from '../../core/layout.js';
import { usesHalf } from './elementwise.js';
import { type Binding, input, output, type Scalars } from './program.js';
import type { Runtime } from './runtime.js';
import { withScratch } from './scratch.js';
import { arrayType, type Domain, loader, MAIN, THREADS } from './wgsl/access.js';
import { collapse } from './wgsl/indexing.js';
import { withMath } from './wgsl/math.js';
import { stepCode, stepFields, stepValues, type Walk, walkOf } from './wgsl/steps.js';

/** What is reduced: for each result the place of its first element, and from there the places of all. */
export interface Geometry {
  readonly kept: Walk;
  readonly reduced: Walk;
  readonly results: number;
  readonly length: number;
}

export function geometryOf(x: View, axes: readonly number[]): Geometry {
  const part = (inside: boolean) => {
    const which = x.shape.flatMap((_, i) => (axes.includes(i) === inside ? [i] : []));
    const shape = which.map((i) => x.shape[i]);
    const space = collapse(shape, [{ shape, strides: which.map((i) => x.strides[i]), offset: 0 }]);
    return { space, count: sizeOf(shape) };
  };
  const [kept, reduced] = [part(false), part(true)];
  return {
    kept: walkOf('kept', kept.space),
    reduced: walkOf('reduced', reduced.space),
    results: kept.count,
    length: reduced.count,
  };
}

/** How results and their elements are dealt out to the invocations of a workgroup. */
interface Tile {
  /** Results of a workgroup. */
  readonly across: number;
  /** Invocations to a result. */
  readonly along: number;
  /** Whether neighbours work on one result, or on neighbouring results: as elements lie side by side. */
  readonly inner: 'along' | 'across';
}

function tileFor({ kept, reduced, results, length }: Geometry): Tile {
  const innermost = ({ strides }: Walk) => Math.abs(strides.at(-1) ?? Number.POSITIVE_INFINITY);
  if (results > 1 && (length === 1 || innermost(kept) < innermost(reduced))) {
    const across = results > 32 ? 64 : 16;
    return { across, along: THREADS / across, inner: 'across' };
  }
  const along = length <= 32 ? 8 : length <= 512 ? 32 : THREADS;
  return { across: THREADS / along, along, inner: 'along' };
}

/** Elements that one invocation adds up at least before work is split, and at most, for the sake of precision. */
const FEWEST = 8;
const MOST = 4096;
/** Workgroups that keep a large GPU busy. */
const BUSY = 1024;

/** Ranges into which the reduced elements are split. */
function rangesFor({ results, length }: Geometry, { across, along }: Tile): number {
  const useful = Math.ceil(length / (along * FEWEST));
  const wanted = Math.max(Math.ceil(BUSY / Math.ceil(results / across)), Math.ceil(length / (along * MOST)));
  const ranges = Math.min(useful, wanted);
  // A second pass must be worth its start.
  return ranges < 4 ? 1 : Math.min(ranges, 4096);
}

/** How elements become a state and states one state. */
export interface Fold {
  readonly key: string;
  /**
   * WGSL: `State` (a type), `start()`, `join(a, b)`, and `item(at: u32, j: u32)` for the j-th element at index `at`, or
   * `take(s, at, j)` for a state that an element is added to.
   */
  readonly code: string;
  readonly inputs: Readonly<Record<string, Binding>>;
  readonly outputs: Readonly<Record<string, Binding>>;
  /** WGSL statements that keep the state `s` as result `o`; `base` is the place of its first element. */
  readonly store: string;
  readonly enable: readonly string[];
  /** More spaces through which it steps. */
  readonly walks?: readonly Walk[];
  /** More scalars, and their values. */
  readonly fields?: Scalars;
  readonly scalars?: Readonly<Record<string, number>>;
}

/** One pass: `views` by the names of the fold; each range of elements gives one row of results. */
export function pass(
  rt: Runtime,
  fold: Fold,
  geometry: Geometry,
  tile: Tile,
  ranges: number,
  views: Readonly<Record<string, View>>,
): void {
  const { kept, reduced, results, length } = geometry;
  const { across, along, inner } = tile;
  const walks = [kept, reduced, ...(fold.walks ?? [])];
  const ranks = walks.map(({ shape }) => shape.length).join(':');
  const launch = rt.kernel(`reduce:${fold.key}:${across}:${inner}:${ranks}`, () => {
    const [a, b] =
      inner === 'along' ? [`lane / ${along}u`, `lane % ${along}u`] : [`lane % ${across}u`, `lane / ${across}u`];
    // Where the state of the next invocation of the same result lies.
    const step = inner === 'along' ? 1 : across;
    return {
      buffers: { ...fold.inputs, ...fold.outputs },
      scalars: {
        results: 'u32',
        length: 'u32',
        tiles: 'u32',
        ranges: 'u32',
        per: 'u32',
        ...fold.fields,
        ...Object.assign({}, ...walks.map(stepFields)),
      },
      enable: fold.enable,
      code: withMath(`${fold.code}
${/\bfn take\(/.test(fold.code) ? '' : 'fn take(s: State, at: u32, j: u32) -> State { return join(s, item(at, j)); }'}
${walks.map(stepCode).join('\n')}
var<workgroup> parts: array<State, ${THREADS}>;
${MAIN}
  let group = t / ${THREADS}u;
  let range = group / p.tiles;
  let b = ${b};
  let r = (group % p.tiles) * ${across}u + ${a};
  let inside = r < p.results && range < p.ranges;
  let base = kept(r);
  let end = min(p.length, (range + 1u) * p.per);
  var s = start();
  if (inside) {
    var j = range * p.per + b;
    var s1 = start();
    var s2 = start();
    var s3 = start();
    // Four at a time, so that loads overlap.
    for (; j + ${3 * along}u < end; j += ${4 * along}u) {
      s = take(s, base + reduced(j), j);
      s1 = take(s1, base + reduced(j + ${along}u), j + ${along}u);
      s2 = take(s2, base + reduced(j + ${2 * along}u), j + ${2 * along}u);
      s3 = take(s3, base + reduced(j + ${3 * along}u), j + ${3 * along}u);
    }
    for (; j < end; j += ${along}u) { s = take(s, base + reduced(j), j); }
    s = join(join(s, s1), join(s2, s3));
  }
  parts[lane] = s;
  for (var half = ${along / 2}u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (b < half) { parts[lane] = join(parts[lane], parts[lane + half * ${step}u]); }
  }
  if (inside && b == 0u) {
    s = parts[lane];
    let o = range * p.results + r;
    ${fold.store}
  }
}`),
    };
  });
  const tiles = Math.ceil(results / across);
  launch(
    views,
    {
      results,
      length,
      tiles,
      ranges,
      per: Math.ceil(length / ranges),
      ...Object.assign({}, ...walks.map(stepValues)),
      ...fold.scalars,
    },
    tiles * ranges,
  );
}

/** The passes over `geometry`: one, or one into `ranges` rows of partial results and one that joins them. */
export function inPasses(
  geometry: Geometry,
  once: (tile: Tile) => void,
  twice: (tile: Tile, ranges: number, joined: Geometry, joinedTile: Tile) => void,
): void {
  const tile = tileFor(geometry);
  const ranges = rangesFor(geometry, tile);
  if (ranges === 1) {
    once(tile);
    return;
  }
  // Every range has elements.
  const filled = Math.ceil(geometry.length / Math.ceil(geometry.length / ranges));
  const joined = partialGeometry(filled, geometry.results);
  twice(tile, filled, joined, tileFor(joined));
}

function partialGeometry(ranges: number, results: number): Geometry {
  const shape = [ranges, results];
  const partial = {
    block: { bytes: 0 },
    dtype: 'float32' as const,
    shape,
    strides: contiguousStrides(shape),
    offset: 0,
  };
  return geometryOf(partial, [0]);
}

/** Folds of numbers into one number: how it starts, takes an element and joins two parts. */
export interface NumberFold {
  readonly key: string;
  readonly start: string;
  /** Of an element `v`. */
  readonly item?: string;
  /** Of `a` and `b`. */
  readonly join: string;
  /** Of the finished `v`. */
  readonly finish?: string;
}

/** Writes the fold of `x` over `axes` into the contiguous `y` (float32, int32, or float16 that the GPU computes). */
export function reduceNumbers(rt: Runtime, fold: NumberFold, x: View, axes: readonly number[], y: View): void {
  const domain: Domain = y.dtype === 'int32' ? 'i32' : 'f32';
  const geometry = geometryOf(x, axes);
  if (geometry.results === 0) return;
  const { half } = rt.facts;
  const made = (from: DType, to: DType, isFirst: boolean, isLast: boolean): Fold => {
    const type = arrayType(to, half);
    return {
      key: `${fold.key}:${from}:${to}:${isFirst}:${isLast}`,
      code: `alias State = ${domain};
${loader('x', from, half, domain)}
fn start() -> State { return ${fold.start}; }
fn item(at: u32, j: u32) -> State { let v = load_x(p.xAt + at); return ${(isFirst && fold.item) || 'v'}; }
fn join(a: State, b: State) -> State { return ${fold.join}; }
fn finish(v: State) -> State { return ${(isLast && fold.finish) || 'v'}; }`,
      inputs: { x: input(arrayType(from, half)) },
      outputs: { y: output(type) },
      store: `y[o] = ${type}(finish(s));`,
      enable: usesHalf([{ dtype: from }, { dtype: to }], half),
    };
  };
  inPasses(
    geometry,
    (tile) => pass(rt, made(x.dtype, y.dtype, true, true), geometry, tile, 1, { x, y }),
    (tile, ranges, joined, joinedTile) => {
      const dtype = domain === 'i32' ? 'int32' : 'float32';
      withScratch(rt, [{ dtype, shape: [ranges, geometry.results] }], (partial) => {
        pass(rt, made(x.dtype, dtype, true, false), geometry, tile, ranges, { x, y: partial });
        pass(rt, made(dtype, y.dtype, false, true), joined, joinedTile, 1, { x: partial, y });
      });
    },
  );
}

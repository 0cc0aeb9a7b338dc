/** Ops that work along whole lines: running sums, the gradient of products, the largest few. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { copy } from '../copy.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import { geometryOf } from '../reduce.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { arrayType, isInteger, loader, MAIN, perWord, THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';
import { stepCode, stepFields, stepValues } from '../wgsl/steps.js';
import { orderCode } from './max.js';

/** Lines up to this length are left to one invocation. */
const SHORT = 64;

export const cumsum = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [x] = inputs as [View];
    const { axis, reverse } = attrs as { readonly axis: number; readonly reverse: boolean };
    const { half } = rt.facts;
    return ([y]) => {
      const length = x.shape[axis];
      const inner = sizeOf(x.shape.slice(axis + 1));
      const n = sizeOf(x.shape);
      if (n === 0) return;
      const domain = isInteger(y.dtype) ? 'i32' : 'f32';
      const type = arrayType(y.dtype, half);
      const short = length <= SHORT;
      const launch = rt.kernel(`cumsum:${x.dtype}:${y.dtype}:${reverse}:${short}`, () => ({
        buffers: { x: input(arrayType(x.dtype, half)), y: output(type) },
        scalars: { lines: 'u32', length: 'u32', inner: 'u32' },
        enable: usesHalf([x, y], half),
        code: withMath(`${loader('x', x.dtype, half, domain)}
fn place(line: u32, i: u32) -> u32 {
  let k = ${reverse ? 'p.length - 1u - i' : 'i'};
  return (line / p.inner * p.length + k) * p.inner + line % p.inner;
}
${short ? SERIAL(domain, type) : SCAN(domain, type)}`),
      }));
      const lines = n / length;
      launch({ x, y }, { lines, length, inner }, short ? Math.ceil(lines / THREADS) : lines);
    };
  },
});

const SERIAL = (domain: string, type: string) => `${MAIN}
  if (t >= p.lines) { return; }
  var total = ${domain}(0);
  for (var i = 0u; i < p.length; i++) {
    let at = place(t, i);
    total += load_x(p.xAt + at);
    y[at] = ${type}(total);
  }
}`;

/** A workgroup runs along a line, 256 elements at a time. */
const SCAN = (domain: string, type: string) => `var<workgroup> sums: array<${domain}, ${2 * THREADS}>;
${MAIN}
  let line = t / ${THREADS}u;
  let works = line < p.lines;
  var before = ${domain}(0);
  for (var first = 0u; first < p.length; first += ${THREADS}u) {
    let i = first + lane;
    let inside = works && i < p.length;
    var v = ${domain}(0);
    if (inside) { v = load_x(p.xAt + place(line, i)); }
    // Two halves take turns, so that nothing is written that is still to be read.
    var now = 0u;
    sums[lane] = v;
    workgroupBarrier();
    for (var step = 1u; step < ${THREADS}u; step <<= 1u) {
      if (lane >= step) { v += sums[now + lane - step]; }
      now = ${THREADS}u - now;
      sums[now + lane] = v;
      workgroupBarrier();
    }
    if (inside) { y[place(line, i)] = ${type}(before + v); }
    before += sums[now + ${THREADS - 1}u];
    workgroupBarrier();
  }
}`;

/** Products of what lies before and after, so that zeros need no division; a line to an invocation. */
export const prodBackward = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [g, x] = inputs as [View, View];
    const { half } = rt.facts;
    const { kept, reduced, results, length } = geometryOf(x, (attrs as { readonly axes: readonly number[] }).axes);
    return ([y]) => {
      if (results * length === 0) return;
      const domain = isInteger(x.dtype) && isInteger(g.dtype) ? 'i32' : 'f32';
      const launch = rt.kernel(
        `prodBackward:${g.dtype}:${x.dtype}:${kept.shape.length}:${reduced.shape.length}`,
        () => ({
          buffers: {
            g: input(arrayType(g.dtype, half)),
            x: input(arrayType(x.dtype, half)),
            d: output(domain),
          },
          scalars: { results: 'u32', length: 'u32', ...stepFields(kept), ...stepFields(reduced) },
          enable: usesHalf([g, x], half),
          code: withMath(`${loader('g', g.dtype, half, domain)}
${loader('x', x.dtype, half, domain)}
${stepCode(kept)}
${stepCode(reduced)}
${MAIN}
  if (t >= p.results) { return; }
  let line = kept(t);
  var after = ${domain}(1);
  for (var i = p.length; i > 0u; i--) {
    let at = line + reduced(i - 1u);
    d[at] = after;
    after *= load_x(p.xAt + at);
  }
  var before = load_g(p.gAt + t);
  for (var i = 0u; i < p.length; i++) {
    let at = line + reduced(i);
    d[at] = before * d[at];
    before *= load_x(p.xAt + at);
  }
}`),
        }),
      );
      // The products on the way need the range of the numbers in which they are computed.
      const dtype = domain === 'i32' ? 'int32' : 'float32';
      const scalars = { results, length, ...stepValues(kept), ...stepValues(reduced) };
      const start = (d: View) => launch({ g, x, d }, scalars, Math.ceil(results / THREADS));
      if (y.dtype === dtype) start(y);
      else {
        withScratch(rt, [{ dtype, shape: y.shape }], (d) => {
          start(d);
          copy(rt, d, y);
        });
      }
    };
  },
});

interface TopAttrs {
  readonly k: number;
  readonly largest: boolean;
}

/** Rounds of a search, at most; for more the place of every element is counted. */
const MOST_ROUNDS = 32;

export const topk = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [x] = inputs as [View];
    const { k, largest } = attrs as TopAttrs;
    const { half } = rt.facts;
    const find = (values: View, indices: View): void => {
      const length = x.shape[x.shape.length - 1];
      const n = sizeOf(x.shape);
      if (n === 0 || k === 0) return;
      const domain = isInteger(x.dtype) ? 'i32' : 'f32';
      const rounds = k <= MOST_ROUNDS && length > SHORT;
      const launch = rt.kernel(`topk:${x.dtype}:${values.dtype}:${largest}:${rounds}`, () => ({
        buffers: {
          x: input(arrayType(x.dtype, half)),
          values: output(arrayType(values.dtype, half)),
          indices: output('i32'),
        },
        scalars: { lines: 'u32', length: 'u32', k: 'u32' },
        enable: usesHalf([x, values], half),
        code: withMath(`${loader('x', x.dtype, half, domain)}
${orderCode(domain === 'i32')}
// Greater for what comes first.
fn key(at: u32) -> i32 { return ${largest ? '' : '~'}order(load_x(p.xAt + at)); }
fn keep(line: u32, place: u32, i: u32) {
  values[line * p.k + place] = ${arrayType(values.dtype, half)}(load_x(p.xAt + line * p.length + i));
  indices[line * p.k + place] = i32(i);
}
${rounds ? ROUNDS : RANKS}`),
      }));
      const lines = n / length;
      launch({ x, values, indices }, { lines, length, k }, rounds ? lines : Math.ceil(n / THREADS));
    };
    return ([values, indices]) => {
      if (perWord(values.dtype, half) === 1) find(values, indices);
      else {
        withScratch(rt, [{ dtype: 'int32', shape: values.shape }], (wide) => {
          find(wide, indices);
          copy(rt, wide, values);
        });
      }
    };
  },
});

/** An element's place is the number of those that come before it. */
const RANKS = `${MAIN}
  if (t >= p.lines * p.length) { return; }
  let line = t / p.length;
  let i = t % p.length;
  let own = key(t);
  var place = 0u;
  for (var j = 0u; j < p.length; j++) {
    let other = key(line * p.length + j);
    if (other > own || (other == own && j < i)) { place++; }
  }
  if (place < p.k) { keep(line, place, i); }
}`;

/** A workgroup finds the first of a line, then the first of those that come after it, and so on. */
const ROUNDS = `var<workgroup> keys: array<i32, ${THREADS}>;
var<workgroup> places: array<u32, ${THREADS}>;
// Whether a comes before b; index 0xffffffff stands for nothing.
fn comes(ka: i32, a: u32, kb: i32, b: u32) -> bool { return b == 0xffffffffu || (a != 0xffffffffu && (ka > kb || (ka == kb && a < b))); }
${MAIN}
  let line = min(t / ${THREADS}u, p.lines - 1u);
  var last = 0;
  var at = 0xffffffffu;
  for (var round = 0u; round < p.k; round++) {
    var best = 0;
    var index = 0xffffffffu;
    for (var i = lane; i < p.length; i += ${THREADS}u) {
      let k = key(line * p.length + i);
      let open = round == 0u || k < last || (k == last && i > at);
      if (open && comes(k, i, best, index)) {
        best = k;
        index = i;
      }
    }
    keys[lane] = best;
    places[lane] = index;
    for (var half = ${THREADS / 2}u; half > 0u; half >>= 1u) {
      workgroupBarrier();
      if (lane < half && comes(keys[lane + half], places[lane + half], keys[lane], places[lane])) {
        keys[lane] = keys[lane + half];
        places[lane] = places[lane + half];
      }
    }
    workgroupBarrier();
    last = keys[0];
    at = places[0];
    if (lane == 0u) { keep(line, round, at); }
    workgroupBarrier();
  }
}`;

/**
 * Sums into the rows that ids name. There are no atomic sums of floats, and their order would be another every time:
 * the positions of a row are chained by atomic exchanges, and one workgroup adds them up in the order of their numbers.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { contiguousStrides, sizeOf } from '../../../core/layout.js';
import { copy } from '../copy.js';
import { usesHalf } from '../elementwise.js';
import { FAULT } from '../faults.js';
import { input, output, type Scalars } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { arrayType, isInteger, loader, MAIN, perWord, THREADS } from '../wgsl/access.js';
import { collapse } from '../wgsl/indexing.js';
import { withMath } from '../wgsl/math.js';
import { stepCode, stepFields, stepValues, walkOf } from '../wgsl/steps.js';
import { indexFault } from './moves.js';

/** How positions name rows. */
interface Target {
  readonly key: string;
  /** The integers that name rows. */
  readonly ids: View;
  /** WGSL of `fn rowOf(i: u32, id: u32) -> u32` for an id below `p.size`. */
  readonly code: string;
  readonly fields: Scalars;
  readonly scalars: Readonly<Record<string, number>>;
  /** Ids lie below it. */
  readonly size: number;
  readonly fault: number;
}

/** Chains up to this length are walked; for longer ones all ids are looked through. */
const CHAIN = 32;
const LANES = 64;

/** Fills y, `rows` rows of `width`, with the sums of the rows of the contiguous g. */
function scatter(rt: Runtime, g: View, target: Target, y: View, rows: number, width: number): void {
  if (perWord(y.dtype, rt.facts.half) > 1) {
    withScratch(rt, [{ dtype: 'int32', shape: y.shape }], (wide) => {
      scatter(rt, g, target, wide, rows, width);
      copy(rt, wide, y);
    });
    return;
  }
  const count = sizeOf(target.ids.shape);
  const words = { dtype: 'int32' as const, shape: [count] };
  withScratch(rt, [{ dtype: 'int32', shape: [rows] }, words, words], (head, next, row) => {
    clear(rt, y, head);
    if (count === 0) return;
    chain(rt, target, head, next, row);
    if (rows * width > 0) addUp(rt, g, { head, next, row }, y, width);
  });
}

/** Zeros, four words at a time: what lies behind the end belongs to nobody. */
function clear(rt: Runtime, y: View, head: View): void {
  const launch = rt.kernel('scatter:clear', () => ({
    buffers: { y: output('vec4u'), head: output('vec4u') },
    scalars: { n: 'u32', rows: 'u32' },
    code: `${MAIN}
  if (t < p.n) { y[t] = vec4u(); }
  if (t < p.rows) { head[t] = vec4u(); }
}`,
  }));
  const [n, rows] = [y, head].map((v) => Math.ceil((sizeOf(v.shape) * bytesOf(v.dtype)) / 16));
  launch({ y, head }, { n, rows }, Math.ceil(Math.max(n, rows) / THREADS));
}

/** row[i]: where position i goes (0xffffffff: nowhere); head[r] and next[i]: the chain of a row, as positions + 1. */
function chain(rt: Runtime, target: Target, head: View, next: View, row: View): void {
  const { ids, size, fault: kind } = target;
  const launch = rt.kernel(`scatter:chain:${target.key}:${ids.dtype}`, () => ({
    buffers: {
      ids: input(arrayType(ids.dtype, rt.facts.half)),
      head: output('atomic<u32>'),
      next: output('u32'),
      row: output('u32'),
      fault: output('atomic<u32>'),
    },
    scalars: { n: 'u32', size: 'u32', kind: 'u32', ...target.fields },
    code: `${FAULT}
${loader('ids', ids.dtype, rt.facts.half, 'i32')}
${target.code}
${MAIN}
  if (t >= p.n) { return; }
  let id = load_ids(p.idsAt + t);
  if (u32(id) >= p.size) {
    report(p.kind, id);
    row[t] = 0xffffffffu;
    return;
  }
  let to = rowOf(t, u32(id));
  row[t] = to;
  next[t] = atomicExchange(&head[to], t + 1u);
}`,
  }));
  const n = sizeOf(ids.shape);
  const views = { ids, head, next, row, fault: rt.faults.view };
  launch(views, { n, size, kind, ...target.scalars }, Math.ceil(n / THREADS));
}

interface Chains {
  readonly head: View;
  readonly next: View;
  readonly row: View;
}

/** WGSL that every way of adding up shares: the sorted list of a row's positions, in `list`. */
const COLLECT = `// How many positions are listed, 0 where i is not its row's head; more than the list holds: the chain is long.
fn collect(i: u32, r: u32) -> u32 {
  if (r == 0xffffffffu || head[min(r, arrayLength(&head) - 1u)] != i + 1u) { return 0u; }
  var at = i + 1u;
  var count = 0u;
  while (at != 0u && count <= ${CHAIN}u) {
    // In order, as they come.
    var k = min(count, ${CHAIN}u);
    while (k > 0u && list[k - 1u] > at - 1u) {
      list[k] = list[k - 1u];
      k--;
    }
    list[k] = at - 1u;
    count++;
    at = next[at - 1u];
  }
  return count;
}`;

/** A few columns: an invocation for each position and column. */
const EACH = (sum: string, stored: string) => `var<private> list: array<u32, ${CHAIN + 1}>;
${COLLECT}
${MAIN}
  if (t >= p.n * p.width) { return; }
  let i = t / p.width;
  let column = t % p.width;
  let r = row[i];
  let count = collect(i, r);
  if (count == 0u) { return; }
  var sum = ${sum}();
  if (count <= ${CHAIN}u) {
    for (var k = 0u; k < count; k++) { sum += value(list[k] * p.width + column); }
  } else {
    for (var j = 0u; j < p.n; j++) { if (row[j] == r) { sum += value(j * p.width + column); } }
  }
  y[r * p.width + column] = ${stored}(sum);
}`;

/** A workgroup for each position and up to 256 columns. */
const TOGETHER = (sum: string, stored: string) => `var<workgroup> list: array<u32, ${CHAIN + 1}>;
var<workgroup> length: u32;
var<workgroup> hits: array<atomic<u32>, 2>;
${COLLECT}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = group_id.x + group_id.y * group_count.x;
  let i = min(group / p.chunks, p.n - 1u);
  let column = (group % p.chunks) * ${LANES}u + lane;
  let inside = column < p.width && group < p.n * p.chunks;
  let r = row[i];
  if (lane == 0u) { length = collect(i, r); }
  let count = workgroupUniformLoad(&length);
  if (count == 0u) { return; }
  var sum = ${sum}();
  if (count <= ${CHAIN}u) {
    if (inside) { for (var k = 0u; k < count; k++) { sum += value(list[k] * p.width + column); } }
  } else {
    for (var first = 0u; first < p.n; first += ${LANES}u) {
      if (lane < 2u) { atomicStore(&hits[lane], 0u); }
      workgroupBarrier();
      if (first + lane < p.n && row[first + lane] == r) { atomicOr(&hits[lane >> 5u], 1u << (lane & 31u)); }
      workgroupBarrier();
      for (var word = 0u; word < 2u; word++) {
        var rest = atomicLoad(&hits[word]);
        while (rest != 0u) {
          if (inside) { sum += value((first + 32u * word + firstTrailingBit(rest)) * p.width + column); }
          rest &= rest - 1u;
        }
      }
      workgroupBarrier();
    }
  }
  if (inside) { y[r * p.width + column] = ${stored}(sum); }
}`;

/** Whoever looks at the position that is its row's head adds up the row. */
function addUp(rt: Runtime, g: View, chains: Chains, y: View, width: number): void {
  const { half } = rt.facts;
  const n = sizeOf(chains.row.shape);
  const fours = width % 4 === 0 && g.offset % 4 === 0 && perWord(g.dtype, half) === 1;
  const columns = fours ? width / 4 : width;
  const few = columns < LANES / 4;
  const domain = isInteger(y.dtype) ? 'i32' : 'f32';
  const launch = rt.kernel(`scatter:add:${g.dtype}:${y.dtype}:${fours}:${few}`, () => {
    const vector = (type: string) => (fours ? `vec4<${type}>` : type);
    const [from, to] = [arrayType(g.dtype, half), arrayType(y.dtype, half)].map(vector);
    const sum = vector(domain);
    return {
      buffers: { g: input(from), head: input('u32'), next: input('u32'), row: input('u32'), y: output(to) },
      scalars: { n: 'u32', width: 'u32', chunks: 'u32' },
      enable: usesHalf([g, y], half),
      code: withMath(`${fours ? '' : loader('g', g.dtype, half, domain)}
fn value(i: u32) -> ${sum} { return ${fours ? `${sum}(g[(p.gAt >> 2u) + i])` : 'load_g(p.gAt + i)'}; }
${few ? EACH(sum, to) : TOGETHER(sum, to)}`),
    };
  });
  const chunks = Math.ceil(columns / LANES);
  launch({ g, ...chains, y }, { n, width: columns, chunks }, few ? Math.ceil((n * columns) / THREADS) : n * chunks);
}

export const scatterAddRows = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [g, ids] = inputs as [View, View];
    const { rows } = attrs as { readonly rows: number };
    return ([y]) => {
      const target: Target = {
        key: 'rows',
        ids,
        code: 'fn rowOf(i: u32, id: u32) -> u32 { return id; }',
        fields: {},
        scalars: {},
        size: rows,
        fault: indexFault(rt, 'scatterAddRows', 'ids', rows),
      };
      scatter(rt, g, target, y, rows, sizeOf(y.shape.slice(1)));
    };
  },
});

/** Every element of the result is a row of one. */
export const scatterAdd = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [given, ids] = inputs as [View, View];
    const { axis, shape } = attrs as { readonly axis: number; readonly shape: readonly number[] };
    return ([y]) => {
      const strides = contiguousStrides(shape);
      const lines = { shape: ids.shape, strides: strides.with(axis, 0), offset: 0 };
      const walk = walkOf('line', collapse(ids.shape, [lines]));
      const target: Target = {
        key: `elements:${walk.shape.length}`,
        ids,
        code: `${stepCode(walk)}
fn rowOf(i: u32, id: u32) -> u32 { return line(i) + id * p.stride; }`,
        fields: { stride: 'u32', ...stepFields(walk) },
        scalars: { stride: strides[axis], ...stepValues(walk) },
        size: shape[axis],
        fault: indexFault(rt, 'scatterAdd', 'indices', shape[axis]),
      };
      scatter(rt, given, target, y, sizeOf(shape), 1);
    };
  },
});

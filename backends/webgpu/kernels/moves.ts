/** Ops that only place elements: pad, gatherRows, gather. */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf, type DType } from '../../../core/dtype.js';
import { sizeOf } from '../../../core/layout.js';
import type { GridAttrs } from '../../../core/ops/slice.js';
import { FAULT } from '../faults.js';
import type { GpuBlock } from '../memory.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { arrayType, groupsFor, loader, MAIN, storeElements, THREADS } from '../wgsl/access.js';
import { bitsLoader, bitsOf } from '../wgsl/bits.js';
import { collapse, indexCode, indexFields, indexValues } from '../wgsl/indexing.js';

/** Each element of the result looks whether it lies on the grid: one launch, no zeros written first. */
export const pad = (rt: Runtime): Kernel => ({
  strided: true,
  plan(inputs, attrs) {
    const [x] = inputs as [View];
    const { shape, starts, steps } = attrs as GridAttrs;
    return ([y]) => {
      const n = sizeOf(shape);
      if (n === 0) return;
      const rank = shape.length;
      const bits = bitsOf(x.dtype);
      const axes = Array.from({ length: rank }, (_, axis) => axis);
      const launch = rt.kernel(`pad:${bits}:${rank}`, () => ({
        buffers: { x: input('u32'), y: output('u32') },
        scalars: Object.fromEntries([
          ['n', 'u32'],
          ...axes.flatMap((a) => ['size', 'from', 'step', 'count', 'stride'].map((name) => [`${name}${a}`, 'u32'])),
        ]),
        code: `${bitsLoader('x', x.dtype)}
fn element(i: u32) -> u32 {
  var rest = i;
  var at = p.xAt;
  ${axes
    .toReversed()
    .map(
      (a) => `{
    // Below the first it wraps, and is too many steps.
    let c = rest % p.size${a} - p.from${a};
    let k = c / p.step${a};
    if (k >= p.count${a} || k * p.step${a} != c) { return 0u; }
    at += k * p.stride${a};
    rest = rest / p.size${a};
  }`,
    )
    .join('\n  ')}
  return load_x(at);
}
${MAIN}
  ${storeElements(bits, false)}
}`,
      }));
      const scalars = Object.fromEntries([
        ['n', n],
        ...axes.flatMap((a) => [
          [`size${a}`, shape[a]],
          [`from${a}`, starts[a]],
          [`step${a}`, steps[a]],
          [`count${a}`, x.shape[a]],
          [`stride${a}`, x.strides[a]],
        ]),
      ]);
      launch({ x, y }, scalars, groupsFor(n, bits, false));
    };
  },
});

/** The number of the fault of an index outside 0 to `size` - 1. */
export function indexFault(rt: Runtime, op: string, what: 'ids' | 'indices', size: number): number {
  let known = faultsOf.get(rt);
  if (!known) {
    known = new Map();
    faultsOf.set(rt, known);
  }
  const key = `${op}:${size}`;
  let kind = known.get(key);
  if (kind === undefined) {
    kind = rt.faults.kind(op, (value) => `expected ${what} from 0 to ${size - 1}, got ${value}`);
    known.set(key, kind);
  }
  return kind;
}

const faultsOf = new WeakMap<Runtime, Map<string, number>>();

/** A row as the largest units in which its bytes lie: their type, and how many elements are one. */
function unitsOf(width: number, offset: number, dtype: DType): { readonly type: string; readonly elements: number } {
  const size = bytesOf(dtype);
  const fits = (bytes: number) => (width * size) % bytes === 0 && (offset * size) % bytes === 0;
  if (fits(16)) return { type: 'vec4<u32>', elements: 16 / size };
  return fits(4) ? { type: 'u32', elements: 4 / size } : { type: '', elements: 1 };
}

export const gatherRows = (rt: Runtime): Kernel => ({
  plan(inputs) {
    const [table, ids] = inputs as [View, View];
    const { half } = rt.facts;
    return ([y]) => {
      const n = sizeOf(y.shape);
      if (sizeOf(ids.shape) === 0) return;
      const rows = table.shape[0];
      // Rows without elements have ids all the same: they are looked at, and nothing is written.
      const width = sizeOf(table.shape.slice(1));
      const { type, elements } = unitsOf(width, table.offset, table.dtype);
      const bits = bitsOf(table.dtype);
      const whole = type !== '';
      const launch = rt.kernel(`gatherRows:${type || bits}:${elements}:${ids.dtype}`, () => ({
        buffers: {
          table: input(type || 'u32'),
          ids: input(arrayType(ids.dtype, half)),
          y: output(type || 'u32'),
          fault: output('atomic<u32>'),
        },
        scalars: { n: 'u32', width: 'u32', count: 'u32', rows: 'u32', first: 'u32', last: 'u32', kind: 'u32' },
        code: `${FAULT}
${loader('ids', ids.dtype, half, 'i32')}
fn check(i: u32) {
  let id = load_ids(p.idsAt + i);
  if (u32(id) >= p.rows) { report(p.kind, id); }
}
${whole ? '' : bitsLoader('table', table.dtype)}
fn element(i: u32) -> ${type || 'u32'} {
  let id = u32(load_ids(p.idsAt + i / p.width));
  if (id >= p.rows) { return ${type || 'u32'}(); }
  let at = p.tableAt / ${elements}u + (id - p.first) * p.width + i % p.width;
  return ${whole ? 'table[at]' : 'load_table(at)'};
}
// Whether the row of element i is among those that are bound; a wrong id counts as the first.
fn isHere(i: u32) -> bool {
  let id = u32(load_ids(p.idsAt + i / p.width));
  let here = id >= p.first && id < p.last;
  return select(here, p.first == 0u, id >= p.rows);
}
${MAIN}
  if (t < p.count) { check(t); }
  ${whole ? 'if (t < p.n && isHere(t)) { y[t] = element(t); }' : storeElements(bits, false)}
}`,
      }));
      const count = sizeOf(ids.shape);
      const units = n / elements;
      const groups = Math.max(
        whole ? Math.ceil(units / THREADS) : groupsFor(n, bits, false),
        Math.ceil(count / THREADS),
      );
      const kind = indexFault(rt, 'gatherRows', 'ids', rows);
      // A table that is too large to be bound is looked up part by part.
      const isLarge = (table.block as GpuBlock).room > rt.mostBound;
      const most = isLarge && whole ? Math.floor((rt.mostBound - 256) / (width * bytesOf(table.dtype))) : rows;
      for (let first = 0; first < Math.max(1, rows); first += most) {
        const last = Math.min(rows, first + most);
        const part = {
          ...table,
          shape: [last - first, width],
          strides: [width, 1],
          offset: table.offset + first * width,
        };
        const views = { table: isLarge ? part : table, ids, y, fault: rt.faults.view };
        launch(views, { n: units, width: width / elements, count, rows, first, last, kind }, groups);
        if (most === 0) break;
      }
    };
  },
});

export const gather = (rt: Runtime): Kernel => ({
  strided: true,
  plan(inputs, attrs) {
    const [x, index] = inputs as [View, View];
    const { axis } = attrs as { readonly axis: number };
    const { half } = rt.facts;
    return ([y]) => {
      const n = sizeOf(y.shape);
      if (n === 0) return;
      const bits = bitsOf(x.dtype);
      const lines = { ...x, shape: index.shape, strides: x.strides.with(axis, 0) };
      const space = collapse(index.shape, [lines, index]);
      const rank = space.shape.length;
      const launch = rt.kernel(`gather:${bits}:${index.dtype}:${rank}`, () => ({
        buffers: {
          x: input('u32'),
          index: input(arrayType(index.dtype, half)),
          y: output('u32'),
          fault: output('atomic<u32>'),
        },
        scalars: { n: 'u32', size: 'u32', stride: 'u32', kind: 'u32', ...indexFields(rank, ['x', 'index']) },
        code: `${FAULT}
${loader('index', index.dtype, half, 'i32')}
${bitsLoader('x', x.dtype)}
fn element(i: u32) -> u32 {
  ${indexCode(rank, ['x', 'index'])}
  let k = load_index(i_index);
  if (u32(k) >= p.size) {
    report(p.kind, k);
    return 0u;
  }
  return load_x(i_x + u32(k) * p.stride);
}
${MAIN}
  ${storeElements(bits, false)}
}`,
      }));
      const scalars = {
        n,
        size: x.shape[axis],
        stride: x.strides[axis],
        kind: indexFault(rt, 'gather', 'indices', x.shape[axis]),
        ...indexValues(space, ['x', 'index']),
      };
      launch({ x, index, y, fault: rt.faults.view }, scalars, groupsFor(n, bits, false));
    };
  },
});

/** Strided copies with dtype conversion. */
import type { View } from '../../core/backend.js';
import { bytesOf, type DType } from '../../core/dtype.js';
import { contiguousStrides, isContiguous, sizeOf } from '../../core/layout.js';
import { map, usesHalf } from './elementwise.js';
import type { GpuBlock } from './memory.js';
import { input, output } from './program.js';
import type { Runtime } from './runtime.js';
import { arrayType, encoded, groupsFor, isInteger, loader, MAIN, perWord, THREADS } from './wgsl/access.js';
import { collapse, indexCode, indexFields, indexValues } from './wgsl/indexing.js';
import { withMath } from './wgsl/math.js';

/** Whether elements of one dtype are also good ones of the other. */
const sameBits = (from: DType, to: DType): boolean => from === to || (from === 'bool' && to === 'uint8');

/** Copies `from` to `to` (equal shapes; `to` has no zero strides). */
export function copy(rt: Runtime, from: View, to: View): void {
  const n = sizeOf(to.shape);
  if (n === 0) return;
  const { half } = rt.facts;
  if (from.block === to.block) {
    copyInside(rt, from, to, n);
    return;
  }
  const size = bytesOf(to.dtype);
  const same = sameBits(from.dtype, to.dtype);
  if (same && isContiguous(from) && isContiguous(to)) {
    const bytes = n * size;
    const [a, b] = [from.offset * size, to.offset * size];
    const [source, target] = [from.block as GpuBlock, to.block as GpuBlock];
    // Whole words; what lies behind the end of a block belongs to nobody.
    const reachesEnd = b + bytes === to.block.bytes;
    if (a % 4 === 0 && b % 4 === 0 && (bytes % 4 === 0 || reachesEnd) && source.id !== target.id) {
      rt.copyBytes(source, a, target, b, Math.ceil(bytes / 4) * 4);
      return;
    }
  }
  // 32-bit elements travel as bits, so that no NaN changes; other numbers through the domain of the source.
  const [x, y] = same && size === 4 ? [asBits(from), asBits(to)] : [from, to];
  const domain = isInteger(x.dtype) ? 'i32' : 'f32';
  const fills = y.offset === 0 && isContiguous(y) && startsAndEnds(y, n * size);
  if (fills) map(rt, { key: 'copy', domain, code: `fn compute(v0: ${domain}) -> ${domain} { return v0; }` }, [x], y);
  else if (perWord(y.dtype, half) === 1) scatter(rt, x, y, n);
  else scatterPacked(rt, x, y, n);
}

/** Within one block, by way of another: a kernel can't bind what it reads and writes twice. */
function copyInside(rt: Runtime, from: View, to: View, n: number): void {
  const block = rt.memory.alloc(n * bytesOf(from.dtype), false);
  const between: View = { block, dtype: from.dtype, shape: to.shape, strides: contiguousStrides(to.shape), offset: 0 };
  copy(rt, from, between);
  copy(rt, between, to);
  rt.memory.free(block);
}

const asBits = (view: View): View => ({ ...view, dtype: 'int32' });

/** Whether nothing else lies in the words of a contiguous view at the start of its block. */
const startsAndEnds = (view: View, bytes: number): boolean => bytes % 4 === 0 || bytes === view.block.bytes;

/** One element an invocation, into any strides. */
function scatter(rt: Runtime, x: View, y: View, n: number): void {
  const { half } = rt.facts;
  const space = collapse(y.shape, [x, y]);
  const rank = space.shape.length;
  const domain = isInteger(x.dtype) ? 'i32' : 'f32';
  const launch = rt.kernel(`scatter:${x.dtype}:${y.dtype}:${rank}`, () => ({
    buffers: { x: input(arrayType(x.dtype, half)), y: output(arrayType(y.dtype, half)) },
    scalars: { n: 'u32', ...indexFields(rank, ['x', 'y']) },
    enable: usesHalf([x, y], half),
    code: withMath(`${loader('x', x.dtype, half, domain)}
${MAIN}
  if (t >= p.n) { return; }
  let i = t;
  ${indexCode(rank, ['x', 'y'])}
  y[i_y] = ${encoded('load_x(i_x)', y.dtype, half, domain)};
}`),
  }));
  launch({ x, y }, { n, ...indexValues(space, ['x', 'y']) }, Math.ceil(n / THREADS));
}

/** The same for elements that share words with others: their bits are exchanged atomically. */
function scatterPacked(rt: Runtime, x: View, y: View, n: number): void {
  const { half } = rt.facts;
  const per = perWord(y.dtype, half);
  const bits = 32 / per;
  const space = collapse(y.shape, [x, y]);
  const rank = space.shape.length;
  const domain = isInteger(x.dtype) ? 'i32' : 'f32';
  const launch = rt.kernel(`scatterPacked:${x.dtype}:${y.dtype}:${rank}`, () => ({
    buffers: { x: input(arrayType(x.dtype, half)), y: output('atomic<u32>') },
    scalars: { n: 'u32', ...indexFields(rank, ['x', 'y']) },
    enable: usesHalf([x], half),
    code: withMath(`${loader('x', x.dtype, half, domain)}
${MAIN}
  if (t >= p.n) { return; }
  let i = t;
  ${indexCode(rank, ['x', 'y'])}
  let shift = ${bits}u * (i_y % ${per}u);
  atomicAnd(&y[i_y / ${per}u], ~(${bits === 16 ? '0xffffu' : '0xffu'} << shift));
  atomicOr(&y[i_y / ${per}u], ${encoded('load_x(i_x)', y.dtype, half, domain)} << shift);
}`),
  }));
  launch({ x, y }, { n, ...indexValues(space, ['x', 'y']) }, groupsFor(n, 'float32', half));
}

/** Products one element an invocation: any dtypes and strides. For integers, and for what is too small to tile. */
import type { View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { arrayType, encoded, groupsFor, isInteger, loader, MAIN, storeElements } from '../wgsl/access.js';
import { collapse, indexCode, indexFields, indexValues } from '../wgsl/indexing.js';
import { withMath } from '../wgsl/math.js';

const batchOf = ({ shape, strides }: View) => ({ shape: shape.slice(0, -2), strides: strides.slice(0, -2), offset: 0 });

/** y = a b for a [..., M, K] and b [..., K, N] of any strides, batch axes broadcast to those of the contiguous y. */
export function multiplySimply(rt: Runtime, a: View, b: View, y: View): void {
  const { half } = rt.facts;
  const names = ['a', 'b'];
  const space = collapse(y.shape.slice(0, -2), [batchOf(a), batchOf(b)]);
  const rank = space.shape.length;
  const domain = [a, b, y].every((x) => isInteger(x.dtype)) ? 'i32' : 'f32';
  const launch = rt.kernel(`multiplySimply:${a.dtype}:${b.dtype}:${y.dtype}:${rank}`, () => ({
    buffers: {
      a: input(arrayType(a.dtype, half)),
      b: input(arrayType(b.dtype, half)),
      y: output(arrayType(y.dtype, half)),
    },
    scalars: {
      n: 'u32',
      rows: 'u32',
      columns: 'u32',
      depth: 'u32',
      aRow: 'u32',
      aStep: 'u32',
      bStep: 'u32',
      bColumn: 'u32',
      ...indexFields(rank, names),
    },
    enable: usesHalf([a, b, y], half),
    code: withMath(`${loader('a', a.dtype, half, domain)}
${loader('b', b.dtype, half, domain)}
fn element(at: u32) -> ${arrayType(y.dtype, half)} {
  let row = (at / p.columns) % p.rows;
  let i = at / p.columns / p.rows;
  ${indexCode(rank, names)}
  i_a += row * p.aRow;
  i_b += (at % p.columns) * p.bColumn;
  var sum = ${domain}();
  for (var k = 0u; k < p.depth; k++) {
    sum += load_a(i_a) * load_b(i_b);
    i_a += p.aStep;
    i_b += p.bStep;
  }
  return ${encoded('sum', y.dtype, half, domain)};
}
${MAIN}
  ${storeElements(y.dtype, half)}
}`),
  }));
  const n = sizeOf(y.shape);
  const [rows, columns] = y.shape.slice(-2);
  const [aRow, aStep] = a.strides.slice(-2);
  const [bStep, bColumn] = b.strides.slice(-2);
  const depth = a.shape[a.shape.length - 1];
  const sizes = { n, rows, columns, depth, aRow, aStep, bStep, bColumn };
  launch({ a, b, y }, { ...sizes, ...indexValues(space, names) }, groupsFor(n, y.dtype, half));
}

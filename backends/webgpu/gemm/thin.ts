/** Products with few rows, whose operands lie along the depth: 32 invocations share a few columns, and add up at the end. */
import type { Definition } from '../program.js';
import { indexCode } from '../wgsl/indexing.js';
import { withMath } from '../wgsl/math.js';
import { type Finish, finishBuffers, finishCode, finishKey } from './finish.js';
import { type Sides, sideBuffers, sidesKey } from './load.js';
import type { Product } from './product.js';
import { tileScalars } from './tile.js';

export interface ThinKernel {
  /** A power of two, the product's rows or more. */
  readonly rows: number;
  /** Columns that 32 invocations share: 1, 2 or 4, at most 16 with all rows. */
  readonly columns: number;
  readonly sides: Sides;
  readonly finish: Finish;
}

export const MOST_THIN_ROWS = 16;
const THREADS = 256;
const LANES = 32;
const TEAMS = THREADS / LANES;

/** Columns of a workgroup. */
export const groupColumns = (columns: number): number => TEAMS * columns;

/** Kernels for a product by their rows and columns, those with most columns first; none where they do not suit. */
export function thinTiles({ rows, split, sums }: Product, { a, b }: Sides): { rows: number; columns: number }[] {
  const along = [a, b].every((side) => side.inner === 'depth' && side.wide);
  if (!along || split || sums || rows > MOST_THIN_ROWS) return [];
  const round = 2 ** Math.ceil(Math.log2(rows));
  return [4, 2, 1].filter((columns) => round * columns <= MOST_THIN_ROWS).map((columns) => ({ rows: round, columns }));
}

export const thinKey = ({ rows, columns, sides, finish }: ThinKernel): string =>
  `gemmThin:${rows}x${columns}:${sidesKey(sides)}:${finishKey(finish)}`;

export function thinDefinition({ rows, columns, sides, finish }: ThinKernel): Definition {
  const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
  const cells = rows * columns;
  const pairs = count(rows).flatMap((r) => count(columns).map((c) => [r, c] as const));
  const types = [sides.a.type, sides.b.type, finish.y, finish.bias, finish.residual];
  return {
    buffers: { ...sideBuffers(sides), ...finishBuffers(finish) },
    scalars: tileScalars({ sides, partial: false }),
    enable: types.includes('f16') ? ['f16'] : [],
    code: withMath(`${finishCode(finish)}
var<workgroup> parts: array<f32, ${cells * THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) t: u32) {
  let group = group_id.x + group_id.y * group_count.x;
  if (group >= p.groups) { return; }
  let layer = group / p.across;
  let column0 = (group % p.across) * ${TEAMS * columns}u;
  let i = layer;
  ${indexCode(sides.rank, ['a', 'b'])}
  ${count(rows)
    .map((r) => `let a${r} = i_a + min(${r}u, p.rows - 1u) * p.aOuter;`)
    .join('\n  ')}
  ${count(columns)
    .map((c) => `let b${c} = i_b + min(column0 + t / ${LANES}u * ${columns}u + ${c}u, p.columns - 1u) * p.bOuter;`)
    .join('\n  ')}
  ${pairs.map(([r, c]) => `var c${r}_${c} = vec4f();`).join(' ')}
  for (var k = 4u * (t % ${LANES}u); k < p.depth; k += ${4 * LANES}u) {
    ${count(columns)
      .map((c) => `let w${c} = vec4f(b[(b${c} + k) >> 2u]);`)
      .join(' ')}
    ${count(rows)
      .map((r) => {
        const sums = count(columns).map((c) => `c${r}_${c} = fma(x, w${c}, c${r}_${c});`);
        return `{ let x = vec4f(a[(a${r} + k) >> 2u]); ${sums.join(' ')} }`;
      })
      .join('\n    ')}
  }
  ${pairs
    .map(([r, c], o) => {
      const v = `c${r}_${c}`;
      return `parts[${o * THREADS}u + t] = (${v}.x + ${v}.y) + (${v}.z + ${v}.w);`;
    })
    .join('\n  ')}
  workgroupBarrier();
  if (t < ${TEAMS * cells}u) {
    let team = t / ${cells}u;
    let cell = t % ${cells}u;
    var sum = 0.0f;
    // Neighbours begin at different places: all banks are read at once.
    for (var s = 0u; s < ${LANES}u; s++) { sum += parts[cell * ${THREADS}u + team * ${LANES}u + ((s + t) % ${LANES}u)]; }
    let row = cell / ${columns}u;
    let column = column0 + team * ${columns}u + cell % ${columns}u;
    if (row < p.rows && column < p.columns) { finish(0u, layer, row, column, sum); }
  }
}`),
  };
}

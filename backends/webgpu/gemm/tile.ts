/** Products in tiles: workgroup memory holds a tile of A and one of B, registers a block of the result an invocation. */
import { type Definition, output, type Scalars } from '../program.js';
import { indexCode, indexFields } from '../wgsl/indexing.js';
import { withMath } from '../wgsl/math.js';
import { type Config, configName, threadsOf } from './config.js';
import { type Finish, finishBuffers, finishCode, finishKey, PLACED, SPLIT_SCALARS } from './finish.js';
import { loads, pitchOf, type Sides, sideBuffers, sidesKey, stageSize } from './load.js';

/** Steps of the depth that are written out; blockK is a multiple. */
const UNROLL = 4;

/** What decides on the code of a kernel. */
export interface TileKernel {
  readonly config: Config;
  readonly sides: Sides;
  readonly finish: Finish;
  /** Whether every slice of the depth consists of whole tiles. */
  readonly whole: boolean;
  /** Whether sums over a slice of the depth go to scratch memory, for a second kernel to add and finish. */
  readonly partial: boolean;
}

export const tileKey = ({ config, sides, finish, whole, partial }: TileKernel): string =>
  `gemm:${configName(config)}:${sidesKey(sides)}:${partial ? `${finish.wide ? 'w' : ''}${finish.sums ? 'd' : ''}` : finishKey(finish)}:${whole ? 'w' : ''}${partial ? 'p' : ''}`;

/** Scalars of all tiled kernels. */
export function tileScalars({ sides, partial }: Pick<TileKernel, 'sides' | 'partial'>): Scalars {
  const stride = (name: 'a' | 'b'): string[] => {
    const { inner } = sides[name];
    return [...(inner === 'outer' ? [] : [`${name}Outer`]), ...(inner === 'depth' ? [] : [`${name}Step`])];
  };
  const names = ['rows', 'columns', 'depth', 'down', 'across', 'groups', ...stride('a'), ...stride('b')];
  if (partial) names.push('layers', 'chunk');
  return {
    ...Object.fromEntries(names.map((name) => [name, 'u32' as const])),
    ...(sides.split && SPLIT_SCALARS),
    ...indexFields(sides.rank, ['a', 'b']),
  };
}

/** Where partial sums go: by slice, layer, row and column; and sums of A by slice, layer and row. */
export const partialBuffers = ({ wide, sums }: Finish) => ({
  scratch: output(wide ? 'vec4f' : 'f32'),
  ...(sums && { scratchSums: output('f32') }),
});

/**
 * Which tile a workgroup makes: statements that declare row0 and column0 (its first row and column), rows and columns
 * (where it ends), way, layer, slice, depthStart, depthEnd, i_a, i_b. Tiles go in panels of eight rows of tiles, so that
 * neighbours share what they load.
 */
export function placeTile({
  config,
  sides,
  partial,
}: Pick<TileKernel, 'sides' | 'partial'> & { readonly config: Pick<Config, 'blockM' | 'blockN'> }): string {
  const { blockM, blockN } = config;
  const { split, rank } = sides;
  const part = (total: string) => `let part = p.${total} / p.all * p.before;`;
  const lines = [
    'let group = group_id.x + group_id.y * group_count.x;',
    'if (group >= p.groups) { return; }',
    'let tile = group % (p.down * p.across);',
    'let stack = group / (p.down * p.across);',
    'let panel = tile / (8u * p.across);',
    'let within = tile - panel * 8u * p.across;',
    'let height = min(8u, p.down - 8u * panel);',
    'var tileRow = 8u * panel + within % height;',
    `let tileColumn = within / height;`,
    `let column0 = tileColumn * ${blockN}u;`,
    'let columns = p.columns;',
  ];
  if (partial) lines.push('let slice = stack / p.layers;', 'let layer = stack % p.layers;');
  else lines.push(split === 'rows' ? 'let layer = 0u;' : 'let layer = stack;');
  if (split === 'rows') {
    lines.push(part('rows'));
    lines.push(`let downFirst = (part + ${blockM - 1}u) / ${blockM}u;`);
    lines.push('let way = select(0u, 1u, tileRow >= downFirst);');
    lines.push('tileRow -= way * downFirst;', 'let rows = select(part, p.rows - part, way == 1u);');
  } else lines.push(split === 'depth' ? 'let way = layer;' : 'let way = 0u;', 'let rows = p.rows;');
  if (split === 'depth') lines.push(part('depth'), 'let depth = select(part, p.depth - part, way == 1u);');
  else lines.push('let depth = p.depth;');
  lines.push(`let row0 = tileRow * ${blockM}u;`);
  if (partial) lines.push('let depthStart = slice * p.chunk;', 'let depthEnd = min(depth, depthStart + p.chunk);');
  else lines.push('let depthStart = 0u;', 'let depthEnd = depth;');
  if (split === 'rows') lines.push('let i_a = p.aAt;');
  else lines.push('let i = layer;', indexCode(rank, ['a', 'b']));
  return lines.join('\n  ');
}

/** Statements that store the four columns `value` at (row, column) if they lie in the result. */
export function storeQuad(
  { finish, sides, partial }: Pick<TileKernel, 'finish' | 'sides' | 'partial'>,
  value: string,
): string {
  const one = (v: string, column: string): string => {
    if (!partial) return `finish(way, layer, row, ${column}, ${v});`;
    const first = sides.split === 'rows' ? ' + select(0u, part, way == 1u)' : '';
    return `scratch[(((slice * p.layers + layer) * p.rows + row${first}) * columns + ${column})${finish.wide ? ' >> 2u' : ''}] = ${v};`;
  };
  if (finish.wide) return `if (column < columns) { ${one(value, 'column')} }`;
  return [0, 1, 2, 3]
    .map((c) => `if (column + ${c}u < columns) { ${one(`${value}[${c}]`, `column + ${c}u`)} }`)
    .join('\n    ');
}

export function tileDefinition(kernel: TileKernel): Definition {
  const { config, sides, finish, whole, partial } = kernel;
  const { blockM, blockN, blockK, threadM, threadN, stages } = config;
  const threads = threadsOf(config);
  const [across, down] = [blockN / threadN, blockM / threadM];
  const size = stageSize(config);
  const load = loads(config, threads, sides, whole);
  const quads = (n: number): number[] => Array.from({ length: n / 4 }, (_, i) => i);
  const [groupsM, groupsN] = [quads(threadM), quads(threadN)];
  const [pitchA, pitchB] = [pitchOf(blockM), pitchOf(blockN)];
  const rowsOf = groupsM.flatMap((g) => [0, 1, 2, 3].map((i) => [g, i] as const));
  const accumulators = rowsOf.map(([g, i]) => groupsN.map((h) => `var c${g}${i}_${h} = vec4f();`).join(' '));
  const reads = (u: number) => [
    ...groupsM.map((g) => `let a${g} = tiles[stage + s * ${pitchA}u + y + ${u * pitchA + g * down}u];`),
    ...groupsN.map(
      (h) => `let b${h} = tiles[stage + s * ${pitchB}u + x + ${blockK * pitchA + u * pitchB + h * across}u];`,
    ),
  ];
  const products = rowsOf.map(([g, i]) =>
    groupsN.map((h) => `c${g}${i}_${h} = fma(vec4f(a${g}[${i}]), b${h}, c${g}${i}_${h});`).join(' '),
  );
  // Several steps at once: reads of the next go beside the sums of this one.
  const steps = Array.from({ length: UNROLL }, (_, u) => `{ ${[...reads(u), ...products].join('\n      ')} }`);
  const addSums = finish.sums
    ? `if (tileColumn == 0u && t < ${blockM / 4}u) {
      for (var s = 0u; s < ${blockK}u; s++) { rowSums += tiles[stage + s * ${pitchA}u + t]; }
    }`
    : '';
  const storeSums = finish.sums
    ? `if (tileColumn == 0u && t < ${blockM / 4}u) {
    for (var i = 0u; i < 4u; i++) {
      let row = row0 + 4u * t + i;
      if (row < rows) { ${partial ? 'scratchSums[(slice * p.layers + layer) * p.rows + row] = rowSums[i];' : 'finishSum(way, row, rowSums[i]);'} }
    }
  }`
    : '';
  const count = rowsOf.length * groupsN.length;
  // A loop keeps the code short: what `finish` does is long. The sums are in memory only from here on.
  const results = `var sums_ = array<vec4f, ${count}>(${rowsOf.map(([g, i]) => groupsN.map((h) => `c${g}${i}_${h}`).join(', ')).join(', ')});
  for (var e = 0u; e < ${count}u; e++) {
    let line = e / ${groupsN.length}u;
    let row = row0 + 4u * (y + (line >> 2u) * ${down}u) + (line & 3u);
    let column = column0 + 4u * (x + (e % ${groupsN.length}u) * ${across}u);
    if (row < rows) {
      let value = sums_[e];
      ${storeQuad(kernel, 'value')}
    }
  }`;
  const advance =
    stages === 2
      ? `stage = ${size}u - stage;
      ${load.store}
      workgroupBarrier();`
      : `workgroupBarrier();
      ${load.store}
      workgroupBarrier();`;
  const half = sides.a.type === 'f16' || sides.b.type === 'f16' || usesHalf(kernel);
  return {
    buffers: { ...sideBuffers(sides), ...(partial ? partialBuffers(finish) : finishBuffers(finish)) },
    scalars: tileScalars(kernel),
    enable: half ? ['f16'] : [],
    code: withMath(`${sides.split ? PLACED : ''}
${partial ? '' : finishCode(finish)}
var<workgroup> tiles: array<vec4f, ${stages * size}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) t: u32) {
  ${placeTile(kernel)}
  ${threadPlace(across, down)}
  ${accumulators.join('\n  ')}
  ${finish.sums ? 'var rowSums = vec4f();' : ''}
  var stage = 0u;
  ${load.prepare}
  ${load.fetch('depthStart')}
  ${load.store}
  workgroupBarrier();
  for (var at = depthStart; at < depthEnd; at += ${blockK}u) {
    let more = at + ${blockK}u < depthEnd;
    if (more) {
      ${load.fetch(`at + ${blockK}u`)}
    }
    for (var s = 0u; s < ${blockK}u; s += ${UNROLL}u) {
      ${steps.join('\n      ')}
    }
    ${addSums}
    if (more) {
      ${advance}
    }
  }
  ${storeSums}
  ${results}
}`),
  };
}

/** Half floats among what `finish` touches. */
export const usesHalf = ({ finish, partial }: Pick<TileKernel, 'finish' | 'partial'>): boolean =>
  !partial && [finish.y, finish.bias, finish.residual].includes('f16');

/** Column x and row y of an invocation's block: 32 neighbours lie 8 x 4, so that they read few different vectors. */
function threadPlace(across: number, down: number): string {
  if (across % 8 !== 0 || down % 4 !== 0) return `let x = t % ${across}u; let y = t / ${across}u;`;
  const cells = across / 8;
  return `let x = (t & 7u) + 8u * ((t >> 5u) % ${cells}u); let y = ((t >> 3u) & 3u) + 4u * ((t >> 5u) / ${cells}u);`;
}

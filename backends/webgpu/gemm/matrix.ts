/**
 * Products of half floats on the GPU's matrix units, with float32 sums: tiles of A and B lie in workgroup memory as they
 * lie in memory, each subgroup multiplies a part of them, and the sums go through workgroup memory to be finished.
 */
import type { MatrixConfig } from '../device.js';
import type { Definition } from '../program.js';
import { withMath } from '../wgsl/math.js';
import { type MatrixTile, matrixTileName } from './config.js';
import { finishBuffers, finishCode, finishKey, PLACED } from './finish.js';
import { type Sides, sideBuffers, sidesKey } from './load.js';
import { partialBuffers, placeTile, storeQuad, type TileKernel, tileScalars } from './tile.js';

export interface MatrixKernel extends Omit<TileKernel, 'config'> {
  readonly config: MatrixTile;
  readonly unit: MatrixConfig;
  /** Invocations of a subgroup. */
  readonly lanes: number;
}

export const matrixKey = ({ config, unit, lanes, sides, finish, whole, partial }: MatrixKernel): string =>
  `gemmMatrix:${matrixTileName(config)}:${unit.M}x${unit.N}x${unit.K}/${lanes}:${sidesKey(sides)}:${partial ? `${finish.wide ? 'w' : ''}${finish.sums ? 'd' : ''}` : finishKey(finish)}:${whole ? 'w' : ''}${partial ? 'p' : ''}`;

/** Whether operands are half floats that can be loaded four at a time. */
export const suitsMatrix = ({ a, b }: Sides): boolean =>
  [a, b].every((side) => side.type === 'f16' && side.wide && side.inner !== 'none');

/** Elements between lines of a tile: eight more than needed, against bank conflicts. */
const lineOf = (length: number): number => length + 8;
/** Elements of the tile of one operand. */
const tileSize = (inner: string, block: number, blockK: number): number =>
  inner === 'outer' ? blockK * lineOf(block) : block * lineOf(blockK);
/** Numbers between rows of finished sums. */
const resultLine = (unit: MatrixConfig): number => unit.N + 4;

/** Bytes of workgroup memory, for the worse layout of the operands. */
export function matrixMemory({ blockM, blockN, blockK, warpsM, warpsN }: MatrixTile, unit: MatrixConfig): number {
  const tile = (block: number) => Math.max(tileSize('outer', block, blockK), tileSize('depth', block, blockK));
  return 2 * (tile(blockM) + tile(blockN)) + 4 * warpsM * warpsN * unit.M * resultLine(unit);
}

/** The code that moves tiles of one operand: what stays the same, the loads at a depth, and the stores. */
function mover(name: 'a' | 'b', kernel: MatrixKernel, threads: number) {
  const { config, sides, whole } = kernel;
  const { blockK } = config;
  const { inner } = sides[name];
  const { split } = sides;
  const [block, base, size] = name === 'a' ? [config.blockM, 'row0', 'rows'] : [config.blockN, 'column0', 'columns'];
  const along = (inner === 'outer' ? block : blockK) / 4;
  const line = lineOf(4 * along);
  const turns = Array.from({ length: (block * blockK) / 4 / threads }, (_, i) => i);
  const start = name === 'b' && split === 'rows' ? 'select(p.bAt, p.secondAt, way == 1u)' : `i_${name}`;
  const other = (i: number) => `(t / ${along}u + ${(i * threads) / along}u)`;
  const quad = `4u * (t % ${along}u)`;
  const prepare = [`let s_${name} = t / ${along}u * ${line}u + ${quad};`];
  if (inner === 'outer') prepare.push(`let o_${name} = ${start} + min(${base} + ${quad}, ${size} - 4u);`);
  for (const i of turns) {
    prepare.push(`var ${name}_${i} = vec4h();`);
    if (inner === 'outer') continue;
    const place = `min(${base} + ${other(i)}, ${size} - 1u)`;
    const row = name === 'a' && split === 'rows' ? `placed(way, ${place})` : place;
    prepare.push(`let o_${name}_${i} = ${start} + ${row} * p.${name}Outer + ${quad};`);
  }
  const load = (source: string, i: number, at: string): string => {
    if (inner === 'depth') {
      const set = `${name}_${i} = ${source}[(o_${name}_${i} + ${at}) >> 2u];`;
      return whole ? set : `if (${at} + ${quad} < depthEnd) { ${set} } else { ${name}_${i} = vec4h(); }`;
    }
    const k = `${at} + ${other(i)}`;
    const step = split === 'depth' ? `placed(way, ${k})` : `(${k})`;
    const set = `${name}_${i} = ${source}[(o_${name} + ${step} * p.${name}Step) >> 2u];`;
    return whole ? set : `if (${k} < depthEnd) { ${set} } else { ${name}_${i} = vec4h(); }`;
  };
  const fetch = (at: string): string => {
    const from = (source: string) => turns.map((i) => load(source, i, at)).join('\n      ');
    return name === 'b' && split === 'rows'
      ? `if (way == 0u) {\n      ${from('b')}\n      } else {\n      ${from('second')}\n      }`
      : from(name);
  };
  const store = turns
    .map((i) => {
      const place = `s_${name} + ${((i * threads) / along) * line}u`;
      return [0, 1, 2, 3].map((c) => `tile_${name}[${place} + ${c}u] = ${name}_${i}[${c}];`).join(' ');
    })
    .join('\n      ');
  return { prepare: prepare.join('\n  '), fetch, store };
}

export function matrixDefinition(kernel: MatrixKernel): Definition {
  const { config, unit, lanes, sides, finish, partial } = kernel;
  const { blockM, blockN, blockK, warpsM, warpsN } = config;
  const { M, N, K } = unit;
  const threads = lanes * warpsM * warpsN;
  const [a, b] = [mover('a', kernel, threads), mover('b', kernel, threads)];
  const [partM, partN] = [blockM / warpsM, blockN / warpsN];
  const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
  const [downs, acrosses] = [count(partM / M), count(partN / N)];
  const left = `subgroup_matrix_left<f16, ${K}, ${M}>`;
  const right = `subgroup_matrix_right<f16, ${N}, ${K}>`;
  const lineA = lineOf(sides.a.inner === 'outer' ? blockM : blockK);
  const lineB = lineOf(sides.b.inner === 'outer' ? blockN : blockK);
  const at = (inner: string, outer: string, k: number, line: number) =>
    inner === 'outer' ? `${k * line}u + ${outer}` : `(${outer}) * ${line}u + ${k}u`;
  const [orderA, orderB] = [
    sides.a.inner === 'outer' ? 'col_major' : 'row_major',
    sides.b.inner === 'outer' ? 'row_major' : 'col_major',
  ];
  const steps = count(blockK / K).map((s) => {
    const lefts = downs.map(
      (i) =>
        `let l${i} = subgroupMatrixLoad<${left}, ${orderA}>(&tile_a, ${at(sides.a.inner, `warpRow + ${i * M}u`, s * K, lineA)}, ${lineA}u);`,
    );
    const rights = acrosses.map(
      (j) =>
        `let r${j} = subgroupMatrixLoad<${right}, ${orderB}>(&tile_b, ${at(sides.b.inner, `warpColumn + ${j * N}u`, s * K, lineB)}, ${lineB}u);`,
    );
    const products = downs.flatMap((i) =>
      acrosses.map((j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, c${i}_${j});`),
    );
    return `{\n      ${[...lefts, ...rights, ...products].join('\n      ')}\n    }`;
  });
  const line = resultLine(unit);
  const drains = downs.flatMap((i) =>
    acrosses.map(
      (j) => `subgroupMatrixStore<row_major>(&results, warp * ${M * line}u, c${i}_${j}, ${line}u);
  workgroupBarrier();
  for (var q = lane; q < ${(M * N) / 4}u; q += ${lanes}u) {
    let row = row0 + warpRow + ${i * M}u + q / ${N / 4}u;
    let column = column0 + warpColumn + ${j * N}u + 4u * (q % ${N / 4}u);
    if (row < rows) {
      let r = warp * ${M * line}u + q / ${N / 4}u * ${line}u + 4u * (q % ${N / 4}u);
      let value = vec4f(results[r], results[r + 1u], results[r + 2u], results[r + 3u]);
      ${storeQuad(kernel, 'value')}
    }
  }
  workgroupBarrier();`,
    ),
  );
  const owner = `tileColumn == 0u && t < ${blockM}u`;
  const element = sides.a.inner === 'outer' ? `s * ${lineA}u + t` : `t * ${lineA}u + s`;
  const storeSum = partial
    ? 'scratchSums[(slice * p.layers + layer) * p.rows + row0 + t] = rowSum;'
    : 'finishSum(way, row0 + t, rowSum);';
  return {
    buffers: { ...sideBuffers(sides), ...(partial ? partialBuffers(finish) : finishBuffers(finish)) },
    scalars: tileScalars(kernel),
    enable: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
    code: withMath(`${sides.split ? PLACED : ''}
${partial ? '' : finishCode(finish)}
var<workgroup> tile_a: array<f16, ${tileSize(sides.a.inner, blockM, blockK)}>;
var<workgroup> tile_b: array<f16, ${tileSize(sides.b.inner, blockN, blockK)}>;
var<workgroup> results: array<f32, ${warpsM * warpsN * M * line}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) t: u32, @builtin(subgroup_id) warp: u32, @builtin(subgroup_invocation_id) lane: u32) {
  ${placeTile(kernel)}
  let warpRow = warp / ${warpsN}u * ${partM}u;
  let warpColumn = warp % ${warpsN}u * ${partN}u;
  ${downs.map((i) => acrosses.map((j) => `var c${i}_${j} = subgroup_matrix_result<f32, ${N}, ${M}>();`).join(' ')).join('\n  ')}
  ${finish.sums ? 'var rowSum = 0.0f;' : ''}
  ${a.prepare}
  ${b.prepare}
  ${a.fetch('depthStart')}
  ${b.fetch('depthStart')}
  for (var at = depthStart; at < depthEnd; at += ${blockK}u) {
    ${a.store}
    ${b.store}
    workgroupBarrier();
    let next = at + ${blockK}u;
    if (next < depthEnd) {
      ${a.fetch('next')}
      ${b.fetch('next')}
    }
    ${steps.join('\n    ')}
    ${finish.sums ? `if (${owner}) { for (var s = 0u; s < ${blockK}u; s++) { rowSum += f32(tile_a[${element}]); } }` : ''}
    workgroupBarrier();
  }
  ${finish.sums ? `if (${owner} && row0 + t < rows) { ${storeSum} }` : ''}
  ${drains.join('\n  ')}
}`),
  };
}

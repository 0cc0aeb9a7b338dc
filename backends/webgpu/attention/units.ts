/**
 * The parts of attention on the GPU's matrix units. A workgroup has 64 rows (queries, or keys), each of its four subgroups
 * 16 of them, and goes over tiles of 32 columns. Products lie in `scores`; the lanes of a subgroup share the columns of a
 * row: `place<c>` is the number of a lane's column c in the tile.
 */
import type { View } from '../../../core/backend.js';
import type { AdapterFacts, MatrixConfig } from '../device.js';
import { matrixUnit } from '../gemm/choose.js';
import type { Masks } from './masks.js';
import { headVector, isWide, type Tiles } from './tiles.js';

const SUBGROUPS = 4;
/** Rows of a subgroup. */
export const OWN = 16;
export const UNIT_ROWS = SUBGROUPS * OWN;
/** Columns at a time. */
export const COLUMNS = 32;
/** Elements between lines, against bank conflicts. */
export const SCORE_LINE = COLUMNS + 4;
const WEIGHT_LINE = COLUMNS + 8;
const lineOf = (width: number): number => width + 8;

/** Fewer rows than this would leave matrix units half empty. */
const FEW_ROWS = 16;

export interface Units {
  readonly unit: MatrixConfig;
  /** Invocations of a subgroup, and of the workgroup. */
  readonly lanes: number;
  readonly threads: number;
  readonly tiles: Tiles;
}

export const unitsKey = ({ unit: { M, N, K }, lanes, tiles }: Units): string =>
  `${tiles.width}:${M}x${N}x${K}/${lanes}`;

/** How matrix units can be used for these operands; null where they cannot. */
export function unitsFor(
  facts: AdapterFacts,
  memory: number,
  operands: readonly View[],
  rows: number,
  masks: Masks,
  tiles: Tiles,
): Units | null {
  const { width } = tiles;
  const unit = matrixUnit(facts);
  const lanes = facts.subgroupMinSize;
  const threads = SUBGROUPS * lanes;
  const bytes = 2 * UNIT_ROWS * (lineOf(width) + WEIGHT_LINE) + 4 * UNIT_ROWS * SCORE_LINE + 8 * threads + 16 * COLUMNS;
  const suits =
    rows > FEW_ROWS &&
    width % 16 === 0 &&
    lanes >= OWN &&
    lanes <= 64 &&
    bytes <= memory &&
    !masks.dropout &&
    operands.every((x) => x.dtype === 'float16') &&
    isWide(operands);
  return suits && unit ? { unit, lanes, threads, tiles } : null;
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The columns of a lane. */
export const turnsOf = ({ lanes }: Units): number[] => range((COLUMNS * OWN) / lanes);

export const UNIT_EXTENSIONS = ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'];

/** Workgroup memory and 2^x. */
export const unitMemory = ({
  threads,
  tiles,
}: Units): string => `var<workgroup> tile: array<f16, ${UNIT_ROWS * lineOf(tiles.width)}>;
var<workgroup> scores: array<f32, ${UNIT_ROWS * SCORE_LINE}>;
var<workgroup> weights: array<f16, ${UNIT_ROWS * WEIGHT_LINE}>;
var<workgroup> parts: array<vec2f, ${threads}>;
fn power(x: f32) -> f32 { return select(select(exp2(x), 0.0f, x < -126.0f), x, isnan_(x)); }`;

/** The head of `main`; a lane works on row first + warp * 16 + row. */
export const unitHead = ({ threads }: Units): string => `@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32, @builtin(subgroup_id) warp: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let b = group.z;
  let h = group.y;
  let heads = groups.y;
  let first = group.x * ${UNIT_ROWS}u;
  let row = lane % ${OWN}u;
  let part = lane / ${OWN}u;
  let ownRow = warp * ${OWN * SCORE_LINE}u + row * ${SCORE_LINE}u;
  // A lane begins with another column than its neighbours, so that they read different banks.
  let turn = (row >> 3u) + 2u * part;`;

/** Statements that fill `count` lines of the tile from `to` on with rows of an operand, zeros from row `end` on. */
export function loadLines(
  name: string,
  to: number,
  count: number,
  start: string,
  end: string,
  { threads, tiles }: Units,
): string {
  const { columns, width } = tiles;
  return `for (var n = t; n < ${count * columns}u; n += ${threads}u) {
    let r = n / ${columns}u;
    let c = n % ${columns}u;
    var quad = vec4<f16>();
    if (${start} + r < ${end}) { quad = vec4<f16>(${headVector(name, `${start} + r`, 'c', true, tiles)}); }
    let at = (${to}u + r) * ${lineOf(width)}u + 4u * c;
    ${range(4)
      .map((k) => `tile[at + ${k}u] = quad[${k}];`)
      .join(' ')}
  }`;
}

/** Element 4 c of the lane's row of a tile that holds the workgroup's rows. */
export const ownLine = ({ tiles }: Units): string => `(warp * ${OWN}u + row) * ${lineOf(tiles.width)}u`;

const typesOf = ({ unit: { M, N, K } }: Units) => ({
  left: `subgroup_matrix_left<f16, ${K}, ${M}>`,
  right: `subgroup_matrix_right<f16, ${N}, ${K}>`,
  result: `subgroup_matrix_result<f32, ${N}, ${M}>`,
});

/** Statements that take the subgroup's rows from the tile into matrices. */
export function takeRows(name: string, units: Units): string {
  const { M, K } = units.unit;
  const line = lineOf(units.tiles.width);
  const { left } = typesOf(units);
  return range(OWN / M)
    .flatMap((i) =>
      range(units.tiles.width / K).map(
        (s) =>
          `let ${name}${i}_${s} = subgroupMatrixLoad<${left}, row_major>(&tile, (warp * ${OWN}u + ${i * M}u) * ${line}u + ${s * K}u, ${line}u);`,
      ),
    )
    .join('\n  ');
}

/** Statements that write the products of such rows with the 32 lines of the tile from `from` on to `scores`. */
export function multiplyRows(name: string, from: number, units: Units): string {
  const { M, N, K } = units.unit;
  const line = lineOf(units.tiles.width);
  const { right, result } = typesOf(units);
  const downs = range(OWN / M);
  return range(COLUMNS / N)
    .map((j) => {
      const steps = range(units.tiles.width / K).map((s) => {
        const sums = downs.map((i) => `c${i} = subgroupMatrixMultiplyAccumulate(${name}${i}_${s}, right${s}, c${i});`);
        return `let right${s} = subgroupMatrixLoad<${right}, col_major>(&tile, ${(from + j * N) * line + s * K}u, ${line}u); ${sums.join(' ')}`;
      });
      const stores = downs.map(
        (i) =>
          `subgroupMatrixStore<row_major>(&scores, warp * ${OWN * SCORE_LINE}u + ${i * M * SCORE_LINE + j * N}u, c${i}, ${SCORE_LINE}u);`,
      );
      return `{
      ${downs.map((i) => `var c${i} = ${result}();`).join(' ')}
      ${steps.join('\n      ')}
      ${stores.join('\n      ')}
    }`;
    })
    .join('\n    ');
}

/** Statements that declare `place<c>` for the columns of a lane. */
export const declarePlaces = (units: Units): string => {
  const turns = turnsOf(units);
  return turns.map((c) => `let place${c} = part * ${turns.length}u + (${c}u + turn) % ${turns.length}u;`).join('\n  ');
};

/** The product of the lane's row with its column c. */
export const scoreAt = (c: number): string => `scores[ownRow + place${c}]`;

/** A statement that sets what the sum below multiplies column c with. */
export const setWeight = (c: number, value: string): string =>
  `weights[(warp * ${OWN}u + row) * ${WEIGHT_LINE}u + place${c}] = f16(${value});`;

/** Registers for a sum over columns. */
export function declareUnitSum(out: string, units: Units): string {
  const { M, N } = units.unit;
  const { result } = typesOf(units);
  return range(OWN / M)
    .flatMap((i) => range(units.tiles.width / N).map((n) => `var ${out}${i}_${n} = ${result}();`))
    .join(' ');
}

/** Statements that add weights times the 32 lines of the tile from `from` on to a sum. */
export function addWeighted(out: string, from: number, units: Units): string {
  const { M, N, K } = units.unit;
  const line = lineOf(units.tiles.width);
  const { left, right } = typesOf(units);
  const downs = range(OWN / M);
  return range(COLUMNS / K)
    .map((s) => {
      const lefts = downs.map(
        (i) =>
          `let w${i} = subgroupMatrixLoad<${left}, row_major>(&weights, warp * ${OWN * WEIGHT_LINE}u + ${i * M * WEIGHT_LINE + s * K}u, ${WEIGHT_LINE}u);`,
      );
      const sums = range(units.tiles.width / N).map((n) => {
        const adds = downs.map(
          (i) => `${out}${i}_${n} = subgroupMatrixMultiplyAccumulate(w${i}, right${n}, ${out}${i}_${n});`,
        );
        return `let right${n} = subgroupMatrixLoad<${right}, row_major>(&tile, ${(from + s * K) * line + n * N}u, ${line}u); ${adds.join(' ')}`;
      });
      return `{
      ${[...lefts, ...sums].join('\n      ')}
    }`;
    })
    .join('\n    ');
}

/** Statements that store a sum times a factor in rows first + ... of the `end` rows of a result; `scores` is free. */
export function storeUnitSum(out: string, name: string, end: string, factor: string, units: Units): string {
  const { unit, lanes, tiles } = units;
  const { M, N } = unit;
  return range(tiles.width / N)
    .map(
      (n) => `${range(OWN / M)
        .map(
          (i) =>
            `subgroupMatrixStore<row_major>(&scores, warp * ${OWN * SCORE_LINE}u + ${i * M * SCORE_LINE}u, ${out}${i}_${n}, ${SCORE_LINE}u);`,
        )
        .join('\n  ')}
  workgroupBarrier();
  for (var n = lane; n < ${(OWN * N) / 4}u; n += ${lanes}u) {
    let r = n / ${N / 4}u;
    let c = 4u * (n % ${N / 4}u);
    let place = first + warp * ${OWN}u + r;
    let at = warp * ${OWN * SCORE_LINE}u + r * ${SCORE_LINE}u + c;
    if (place < ${end}) {
      ${name}[((b * ${end} + place) * heads + h) * ${tiles.columns}u + ${(n * N) / 4}u + c / 4u] =
        vec4<f16>(vec4f(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]) * ${factor});
    }
  }
  workgroupBarrier();`,
    )
    .join('\n  ');
}

/** Statements that add up what the lanes of a row have, two numbers each, as `<out>`. */
export const addParts = (
  out: string,
  value: string,
  { lanes }: Units,
): string => `parts[warp * ${lanes}u + lane] = ${value};
  workgroupBarrier();
  var ${out} = vec2f();
  for (var i = 0u; i < ${lanes / OWN}u; i++) { ${out} += parts[warp * ${lanes}u + i * ${OWN}u + row]; }`;

/**
 * Attention of half floats on the GPU's matrix units. Sums of matrices cannot be scaled where they are, so keys are gone
 * through twice: first for the log-sum-exp of each query, then for the weights, which need no correction any more.
 * A workgroup has 64 queries, each of its four subgroups 16 of them; the lanes of a subgroup share the keys of a row.
 */
import type { View } from '../../../core/backend.js';
import type { AdapterFacts, MatrixConfig } from '../device.js';
import { matrixUnit } from '../gemm/choose.js';
import { type Definition, input, output } from '../program.js';
import { withMath } from '../wgsl/math.js';
import type { Masks } from './masks.js';
import { headFields, headVector, isWide, LN2, LOG2E, type Tiles } from './tiles.js';

const SUBGROUPS = 4;
/** Queries of a subgroup. */
const OWN = 16;
export const MATRIX_ROWS = SUBGROUPS * OWN;
/** Keys at a time. */
const KEYS = 32;
/** Elements between lines, against bank conflicts. */
const SCORE_LINE = KEYS + 4;
const WEIGHT_LINE = KEYS + 8;
const lineOf = (width: number): number => width + 8;

const memoryOf = (width: number, threads: number): number =>
  2 * MATRIX_ROWS * lineOf(width) + 4 * MATRIX_ROWS * SCORE_LINE + 2 * MATRIX_ROWS * WEIGHT_LINE + 8 * threads;

/** The matrix unit for these operands, or null where they are not for one. */
export function unitFor(
  facts: AdapterFacts,
  memory: number,
  operands: readonly View[],
  masks: Masks,
): MatrixConfig | null {
  const width = operands[0].shape[3];
  const unit = matrixUnit(facts);
  const lanes = facts.subgroupMinSize;
  const suits =
    operands.every((x) => x.dtype === 'float16') &&
    isWide(operands) &&
    width % 16 === 0 &&
    !masks.dropout &&
    lanes >= OWN &&
    lanes <= 64 &&
    memoryOf(width, SUBGROUPS * lanes) <= memory;
  return suits ? unit : null;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Statements that fill lines of the tile from `to` on with rows of an operand, zeros from row `end` on. */
function load(name: string, to: number, count: number, start: string, end: string, threads: number, tiles: Tiles) {
  const { columns, width } = tiles;
  return `for (var n = t; n < ${count * columns}u; n += ${threads}u) {
    let r = n / ${columns}u;
    let c = n % ${columns}u;
    var quad = vec4<f16>();
    if (${start} + r < ${end}) { quad = vec4<f16>(${headVector(name, `${start} + r`, 'c', true, tiles)}); }
    let place = (${to}u + r) * ${lineOf(width)}u + 4u * c;
    ${range(4)
      .map((k) => `tile[place + ${k}u] = quad[${k}];`)
      .join(' ')}
  }`;
}

export function matrixAttention(unit: MatrixConfig, lanes: number, tiles: Tiles, masks: Masks): Definition {
  const { M, N, K } = unit;
  const { width } = tiles;
  const threads = SUBGROUPS * lanes;
  const line = lineOf(width);
  const [downs, depths, acrosses] = [range(OWN / M), range(width / K), range(width / N)];
  const left = `subgroup_matrix_left<f16, ${K}, ${M}>`;
  const right = `subgroup_matrix_right<f16, ${N}, ${K}>`;
  const result = `subgroup_matrix_result<f32, ${N}, ${M}>`;
  const ownScores = `warp * ${OWN * SCORE_LINE}u`;
  const ownWeights = `warp * ${OWN * WEIGHT_LINE}u`;

  const queryMatrices = downs.flatMap((i) =>
    depths.map(
      (s) =>
        `let q${i}_${s} = subgroupMatrixLoad<${left}, row_major>(&tile, (warp * ${OWN}u + ${i * M}u) * ${line}u + ${s * K}u, ${line}u);`,
    ),
  );
  const scores = range(KEYS / N)
    .map((j) => {
      const steps = depths.map((s) => {
        const sums = downs.map((i) => `c${i} = subgroupMatrixMultiplyAccumulate(q${i}_${s}, k${s}, c${i});`);
        return `let k${s} = subgroupMatrixLoad<${right}, col_major>(&tile, ${j * N * line + s * K}u, ${line}u); ${sums.join(' ')}`;
      });
      const stores = downs.map(
        (i) =>
          `subgroupMatrixStore<row_major>(&scores, ${ownScores} + ${i * M * SCORE_LINE + j * N}u, c${i}, ${SCORE_LINE}u);`,
      );
      return `{
      ${downs.map((i) => `var c${i} = ${result}();`).join(' ')}
      ${steps.join('\n      ')}
      ${stores.join('\n      ')}
    }`;
    })
    .join('\n    ');
  const products = range(KEYS / K)
    .map((s) => {
      const weights = downs.map(
        (i) =>
          `let w${i} = subgroupMatrixLoad<${left}, row_major>(&weights, ${ownWeights} + ${i * M * WEIGHT_LINE + s * K}u, ${WEIGHT_LINE}u);`,
      );
      const sums = acrosses.map((n) => {
        const adds = downs.map((i) => `o${i}_${n} = subgroupMatrixMultiplyAccumulate(w${i}, v${n}, o${i}_${n});`);
        return `let v${n} = subgroupMatrixLoad<${right}, row_major>(&tile, ${(KEYS + s * K) * line + n * N}u, ${line}u); ${adds.join(' ')}`;
      });
      return `{
      ${[...weights, ...sums].join('\n      ')}
    }`;
    })
    .join('\n    ');

  // The keys of a lane; it begins with another one than its neighbours, so that they read different banks.
  const share = (KEYS * OWN) / lanes;
  const turns = range(share);
  const scored = turns
    .map((c) => {
      const key = `start + place${c}`;
      const bias = masks.bias ? ` + biased(b, h, query, ${key})` : '';
      const dead = `${key} >= p.keys${masks.padding ? ` || padded(b, ${key})` : ''}`;
      return `let place${c} = part * ${share}u + (${c}u + turn) % ${share}u;
    let s${c} = select(scores[ownRow + place${c}] * p.scale${bias}, -inf_(), ${dead});`;
    })
    .join('\n    ');
  const largest = turns.reduce((text, c) => (text ? `max(${text}, s${c})` : `s${c}`), '');
  const drains = acrosses.map(
    (n) => `${downs
      .map(
        (i) =>
          `subgroupMatrixStore<row_major>(&scores, ${ownScores} + ${i * M * SCORE_LINE}u, o${i}_${n}, ${SCORE_LINE}u);`,
      )
      .join('\n  ')}
  workgroupBarrier();
  for (var n = lane; n < ${(OWN * N) / 4}u; n += ${lanes}u) {
    let r = n / ${N / 4}u;
    let c = 4u * (n % ${N / 4}u);
    let place = first + warp * ${OWN}u + r;
    let at = ${ownScores} + r * ${SCORE_LINE}u + c;
    if (place < p.queries) {
      o[((b * p.queries + place) * heads + h) * ${width / 4}u + ${(n * N) / 4}u + c / 4u] =
        vec4<f16>(vec4f(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]));
    }
  }
  workgroupBarrier();`,
  );
  return {
    buffers: {
      q: input('vec4<f16>'),
      k: input('vec4<f16>'),
      v: input('vec4<f16>'),
      ...masks.buffers,
      o: output('vec4<f16>'),
      lse: output('f32'),
    },
    scalars: {
      ...headFields('q', true),
      ...headFields('k', true),
      ...headFields('v', true),
      queries: 'u32',
      keys: 'u32',
      scale: 'f32',
      ...masks.fields,
    },
    enable: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
    code: withMath(`var<workgroup> tile: array<f16, ${MATRIX_ROWS * line}>;
var<workgroup> scores: array<f32, ${MATRIX_ROWS * SCORE_LINE}>;
var<workgroup> weights: array<f16, ${MATRIX_ROWS * WEIGHT_LINE}>;
var<workgroup> parts: array<vec2f, ${threads}>;
fn power(x: f32) -> f32 { return select(select(exp2(x), 0.0f, x < -126.0f), x, isnan_(x)); }
${masks.code}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32, @builtin(subgroup_id) warp: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let b = group.z;
  let h = group.y;
  let heads = groups.y;
  let first = group.x * ${MATRIX_ROWS}u;
  let row = lane % ${OWN}u;
  let part = lane / ${OWN}u;
  let query = first + warp * ${OWN}u + row;
  let ownRow = ${ownScores} + row * ${SCORE_LINE}u;
  let turn = (row >> 3u) + 2u * part;
  ${load('q', 0, MATRIX_ROWS, 'first', 'p.queries', threads, tiles)}
  workgroupBarrier();
  ${queryMatrices.join('\n  ')}
  workgroupBarrier();
  var top = -inf_();
  var total = 0.0f;
  for (var start = 0u; start < p.keys; start += ${KEYS}u) {
    ${load('k', 0, KEYS, 'start', 'p.keys', threads, tiles)}
    workgroupBarrier();
    ${scores}
    workgroupBarrier();
    ${scored}
    let above = max(top, ${largest});
    let shift = select(above, 0.0f, above == -inf_());
    total = total * power(top - shift) + (${turns.map((c) => `power(s${c} - shift)`).join(' + ')});
    top = above;
  }
  parts[warp * ${lanes}u + lane] = vec2f(top, total);
  workgroupBarrier();
  for (var i = 0u; i < ${lanes / OWN}u; i++) { top = max(top, parts[warp * ${lanes}u + i * ${OWN}u + row].x); }
  let shift = select(top, 0.0f, top == -inf_());
  total = 0.0f;
  for (var i = 0u; i < ${lanes / OWN}u; i++) {
    let other = parts[warp * ${lanes}u + i * ${OWN}u + row];
    total += other.y * power(other.x - shift);
  }
  let logarithm = select(fma(log_(total), ${LOG2E}, shift), 0.0f, total == 0.0f);
  if (part == 0u && query < p.queries) { lse[(b * heads + h) * p.queries + query] = logarithm * ${LN2}; }
  ${downs.map((i) => acrosses.map((n) => `var o${i}_${n} = ${result}();`).join(' ')).join('\n  ')}
  for (var start = 0u; start < p.keys; start += ${KEYS}u) {
    ${load('k', 0, KEYS, 'start', 'p.keys', threads, tiles)}
    ${load('v', KEYS, KEYS, 'start', 'p.keys', threads, tiles)}
    workgroupBarrier();
    ${scores}
    workgroupBarrier();
    ${scored}
    ${turns.map((c) => `weights[${ownWeights} + row * ${WEIGHT_LINE}u + place${c}] = f16(power(s${c} - logarithm));`).join('\n    ')}
    workgroupBarrier();
    ${products}
    workgroupBarrier();
  }
  ${drains.join('\n  ')}
}`),
  };
}

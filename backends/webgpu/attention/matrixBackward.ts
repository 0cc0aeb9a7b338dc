/** Gradients of attention of half floats on the GPU's matrix units: the steps of kernels/attentionBackward.ts. */
import { type Definition, input, output } from '../program.js';
import { withMath } from '../wgsl/math.js';
import type { Masks } from './masks.js';
import { maskedScores } from './matrix.js';
import { headFields, headVector, LN2, LOG2E } from './tiles.js';
import {
  addParts,
  addWeighted,
  COLUMNS,
  declarePlaces,
  declareUnitSum,
  loadLines,
  multiplyRows,
  OWN,
  ownLine,
  scoreAt,
  setWeight,
  storeUnitSum,
  takeRows,
  turnsOf,
  UNIT_EXTENSIONS,
  UNIT_ROWS,
  type Units,
  unitHead,
  unitMemory,
} from './units.js';

const fields = (names: readonly string[], masks: Masks) =>
  ({
    ...Object.assign({}, ...names.map((name) => headFields(name, true))),
    queries: 'u32',
    keys: 'u32',
    scale: 'f32',
    ...masks.fields,
  }) as const;

const arrays = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, input('vec4<f16>')]));

/** dq and the numbers of each query that the second dispatch reads. */
export function matrixQueryGradients(units: Units, masks: Masks): Definition {
  const { lanes, tiles } = units;
  const turns = turnsOf(units);
  const each = (text: (c: number) => string) => turns.map(text).join('\n    ');
  const operands = ['dy', 'q', 'k', 'v', 'o'];
  return {
    buffers: {
      ...arrays(operands),
      ...masks.buffers,
      lse: input('f32'),
      dq: output('vec4<f16>'),
      stats: output('vec4f'),
    },
    scalars: fields(operands, masks),
    enable: UNIT_EXTENSIONS,
    code: withMath(`${unitMemory(units)}
${masks.code}
${unitHead(units)}
  let query = first + warp * ${OWN}u + row;
  ${declarePlaces(units)}
  ${loadLines('q', 0, UNIT_ROWS, 'first', 'p.queries', units)}
  workgroupBarrier();
  ${takeRows('q', units)}
  workgroupBarrier();
  ${loadLines('dy', 0, UNIT_ROWS, 'first', 'p.queries', units)}
  workgroupBarrier();
  ${takeRows('g', units)}
  var own = 0.0f;
  var own_lse = 0.0f;
  if (query < p.queries) {
    own_lse = lse[p.lseAt + (b * heads + h) * p.queries + query] * ${LOG2E};
    for (var c = part; c < ${tiles.columns}u; c += ${lanes / OWN}u) {
      let at = ${ownLine(units)} + 4u * c;
      let quad = vec4f(f32(tile[at]), f32(tile[at + 1u]), f32(tile[at + 2u]), f32(tile[at + 3u]));
      own += dot(quad, ${headVector('o', 'query', 'c', true, tiles)});
    }
  }
  ${addParts('delta', 'vec2f(own, 0.0f)', units)}
  var sums = vec2f();
  ${declareUnitSum('dq', units)}
  for (var start = 0u; start < p.keys; start += ${COLUMNS}u) {
    ${loadLines('k', 0, COLUMNS, 'start', 'p.keys', units)}
    ${loadLines('v', COLUMNS, COLUMNS, 'start', 'p.keys', units)}
    workgroupBarrier();
    ${multiplyRows('q', 0, units)}
    workgroupBarrier();
    ${maskedScores(masks, units)}
    ${each((c) => `let p${c} = power(s${c} - own_lse);`)}
    workgroupBarrier();
    ${multiplyRows('g', COLUMNS, units)}
    workgroupBarrier();
    ${each((c) => `let d${c} = p${c} * (${scoreAt(c)} - delta.x); sums += vec2f(p${c}, d${c}); ${setWeight(c, `d${c}`)}`)}
    workgroupBarrier();
    ${addWeighted('dq', 0, units)}
    workgroupBarrier();
  }
  ${addParts('total', 'sums', units)}
  if (part == 0u && query < p.queries) {
    let rest = select(total.y / total.x, 0.0f, total.x == 0.0f);
    stats[(b * heads + h) * p.queries + query] = vec4f(own_lse, delta.x, rest, 0.0f);
  }
  let factor = p.scale * ${LN2};
  ${storeUnitSum('dq', 'dq', 'p.queries', 'factor', units)}
}`),
  };
}

/** dk, dv and, where it is wanted, the gradient of the bias. */
export function matrixKeyGradients(units: Units, masks: Masks, biasGrad: boolean): Definition {
  const turns = turnsOf(units);
  const each = (text: (c: number) => string) => turns.map(text).join('\n    ');
  const operands = ['dy', 'q', 'k', 'v'];
  const query = (c: number) => `start + place${c}`;
  const biased = (c: number) => (masks.bias ? ` + biased(b, h, ${query(c)}, key)` : '');
  const write = (c: number) =>
    `if ((key < p.keys) & (${query(c)} < p.queries)) { dbias[((b * heads + h) * p.queries + ${query(c)}) * p.keys + key] = d${c}; }`;
  return {
    buffers: {
      ...arrays(operands),
      ...masks.buffers,
      stats: input('vec4f'),
      dk: output('vec4<f16>'),
      dv: output('vec4<f16>'),
      ...(biasGrad ? { dbias: output('f32') } : {}),
    },
    scalars: fields(operands, masks),
    enable: UNIT_EXTENSIONS,
    code: withMath(`${unitMemory(units)}
var<workgroup> known: array<vec4f, ${COLUMNS}>;
${masks.code}
${unitHead(units)}
  let key = first + warp * ${OWN}u + row;
  let dead = key >= p.keys${masks.padding ? ' || padded(b, key)' : ''};
  ${declarePlaces(units)}
  ${loadLines('k', 0, UNIT_ROWS, 'first', 'p.keys', units)}
  workgroupBarrier();
  ${takeRows('k', units)}
  workgroupBarrier();
  ${loadLines('v', 0, UNIT_ROWS, 'first', 'p.keys', units)}
  workgroupBarrier();
  ${takeRows('v', units)}
  workgroupBarrier();
  ${declareUnitSum('dk', units)}
  ${declareUnitSum('dv', units)}
  for (var start = 0u; start < p.queries; start += ${COLUMNS}u) {
    ${loadLines('q', 0, COLUMNS, 'start', 'p.queries', units)}
    ${loadLines('dy', COLUMNS, COLUMNS, 'start', 'p.queries', units)}
    if (t < ${COLUMNS}u) {
      var all = vec4f();
      if (start + t < p.queries) { all = stats[(b * heads + h) * p.queries + start + t]; }
      known[t] = all;
    }
    workgroupBarrier();
    ${multiplyRows('k', 0, units)}
    workgroupBarrier();
    ${each(
      (c) => `let behind${c} = dead | (${query(c)} >= p.queries);
    let p${c} = select(power(${scoreAt(c)} * p.scale${biased(c)} - known[place${c}].x), 0.0f, behind${c});
    ${setWeight(c, `p${c}`)}`,
    )}
    workgroupBarrier();
    ${addWeighted('dv', COLUMNS, units)}
    ${multiplyRows('v', COLUMNS, units)}
    workgroupBarrier();
    ${each(
      (
        c,
      ) => `let d${c} = select(p${c} * (${scoreAt(c)} - known[place${c}].y) - p${c} * known[place${c}].z, 0.0f, ${query(c)} >= p.queries);
    ${setWeight(c, `d${c}`)}`,
    )}
    ${biasGrad ? each(write) : ''}
    workgroupBarrier();
    ${addWeighted('dk', 0, units)}
    workgroupBarrier();
  }
  let factor = p.scale * ${LN2};
  ${storeUnitSum('dk', 'dk', 'p.keys', 'factor', units)}
  ${storeUnitSum('dv', 'dv', 'p.keys', '1.0f', units)}
}`),
  };
}

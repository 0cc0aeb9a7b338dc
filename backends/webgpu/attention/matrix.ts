/**
 * Attention of half floats on the GPU's matrix units. Sums of matrices cannot be scaled where they are, so keys are gone
 * through twice: first for the log-sum-exp of each query, then for the weights, which need no correction any more.
 */
import { type Definition, input, output } from '../program.js';
import { withMath } from '../wgsl/math.js';
import type { Masks } from './masks.js';
import { headFields, LN2, LOG2E } from './tiles.js';
import {
  addWeighted,
  COLUMNS,
  declarePlaces,
  declareUnitSum,
  loadLines,
  multiplyRows,
  OWN,
  range,
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

/** Statements that declare s<c>: the finished scores of the lane's query. */
export const maskedScores = (masks: Masks, units: Units): string =>
  turnsOf(units)
    .map((c) => {
      const key = `start + place${c}`;
      const bias = masks.bias ? ` + biased(b, h, query, ${key})` : '';
      // No short cuts: each would be a branch.
      const dead = `(${key} >= p.keys)${masks.padding ? ` | padded(b, ${key})` : ''}`;
      return `let s${c} = select(${scoreAt(c)} * p.scale${bias}, -inf_(), ${dead});`;
    })
    .join('\n    ');

export function matrixAttention(units: Units, masks: Masks): Definition {
  const { lanes } = units;
  const turns = turnsOf(units);
  const largest = turns.reduce((text, c) => (text ? `max(${text}, s${c})` : `s${c}`), '');
  const ofRow = (i: string) => `parts[warp * ${lanes}u + ${i} * ${OWN}u + row]`;
  return {
    buffers: {
      ...Object.fromEntries(['q', 'k', 'v'].map((name) => [name, input('vec4<f16>')])),
      ...masks.buffers,
      o: output('vec4<f16>'),
      lse: output('f32'),
    },
    scalars: {
      ...Object.assign({}, ...['q', 'k', 'v'].map((name) => headFields(name, true))),
      queries: 'u32',
      keys: 'u32',
      scale: 'f32',
      ...masks.fields,
    },
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
  var top = -inf_();
  var total = 0.0f;
  for (var start = 0u; start < p.keys; start += ${COLUMNS}u) {
    ${loadLines('k', 0, COLUMNS, 'start', 'p.keys', units)}
    workgroupBarrier();
    ${multiplyRows('q', 0, units)}
    workgroupBarrier();
    ${maskedScores(masks, units)}
    let above = max(top, ${largest});
    let shift = select(above, 0.0f, above == -inf_());
    total = total * power(top - shift) + (${turns.map((c) => `power(s${c} - shift)`).join(' + ')});
    top = above;
  }
  parts[warp * ${lanes}u + lane] = vec2f(top, total);
  workgroupBarrier();
  for (var i = 0u; i < ${lanes / OWN}u; i++) { top = max(top, ${ofRow('i')}.x); }
  let shift = select(top, 0.0f, top == -inf_());
  total = 0.0f;
  for (var i = 0u; i < ${lanes / OWN}u; i++) { total += ${ofRow('i')}.y * power(${ofRow('i')}.x - shift); }
  let logarithm = select(fma(log_(total), ${LOG2E}, shift), 0.0f, total == 0.0f);
  if (part == 0u && query < p.queries) { lse[(b * heads + h) * p.queries + query] = logarithm * ${LN2}; }
  ${declareUnitSum('o', units)}
  for (var start = 0u; start < p.keys; start += ${COLUMNS}u) {
    ${loadLines('k', 0, COLUMNS, 'start', 'p.keys', units)}
    ${loadLines('v', COLUMNS, COLUMNS, 'start', 'p.keys', units)}
    workgroupBarrier();
    ${multiplyRows('q', 0, units)}
    workgroupBarrier();
    ${maskedScores(masks, units)}
    ${range(turns.length)
      .map((c) => setWeight(c, `power(s${c} - logarithm)`))
      .join('\n    ')}
    workgroupBarrier();
    ${addWeighted('o', COLUMNS, units)}
    workgroupBarrier();
  }
  ${storeUnitSum('o', 'o', 'p.queries', '1.0f', units)}
}`),
  };
}

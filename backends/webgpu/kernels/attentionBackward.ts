/**
 * Gradients of attention without a matrix of scores (Dao et al. 2022): probabilities are computed again from the
 * log-sum-exp, once in rows of queries for dq and once in rows of keys for dk and dv.
 *
 * A query's score gradients p (dp - delta) sum to 0. What rounding leaves of that sum is taken out once more, because some
 * gradients (of the keys' bias) are nothing but this sum: the first dispatch finds it while it computes dq, on which it has
 * no influence, and the second takes it out of dk and of the gradient of the bias.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { isContiguous } from '../../../core/layout.js';
import type { AttentionAttrs } from '../../../core/ops/attentionBackward.js';
import { type Masks, maskScores, masksOf, weightAt } from '../attention/masks.js';
import { matrixKeyGradients, matrixQueryGradients } from '../attention/matrixBackward.js';
import {
  addProduct,
  alongRows,
  declareSum,
  four,
  headArray,
  headFields,
  headScalars,
  headVector,
  isWide,
  LN2,
  LOG2E,
  loadRows,
  mainHead,
  memoryCode,
  POWERS,
  place,
  product,
  storeProduct,
  storeSum,
  TILE,
  type Tiles,
  tilesFor,
  tilesKey,
} from '../attention/tiles.js';
import { UNIT_ROWS, type Units, unitsFor, unitsKey } from '../attention/units.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { withMath } from '../wgsl/math.js';
import { allFloat } from './views.js';

interface Attrs extends AttentionAttrs {
  readonly biasGrad: boolean;
}

/** Rows of a workgroup at most: of two operands at once. */
const MOST_ROWS = 32;
const MOST_GROUPS = 65535;
const MOST_WIDTH = 128;

type Operands = Readonly<Record<string, View>>;

/** What both dispatches share. */
interface Job {
  readonly rt: Runtime;
  readonly wide: boolean;
  readonly masks: Masks;
  readonly scalars: Readonly<Record<string, number>>;
  readonly heads: number;
  readonly batch: number;
}

function arraysOf({ rt, wide }: Job, operands: Operands) {
  return Object.fromEntries(
    Object.entries(operands).map(([name, x]) => [name, input(headArray(x.dtype, wide, rt.facts.half))]),
  );
}

function fieldsOf({ wide, masks }: Job, operands: Operands) {
  const strides = Object.keys(operands).map((name) => headFields(name, wide));
  return { ...Object.assign({}, ...strides), queries: 'u32', keys: 'u32', scale: 'f32', ...masks.fields } as const;
}

const keyOf = (name: string, { wide, masks }: Job, tiles: Tiles, operands: Operands, result: View): string =>
  `${name}:${Object.values(operands).map((x) => x.dtype)}:${result.dtype}:${tilesKey(tiles)}:${wide}:${masks.key}`;

/** dq; and for each query its log-sum-exp, delta and the rest of its sum, [B, H, Lq] vectors. */
function queryGradients(job: Job, tiles: Tiles, operands: Operands, lse: View, dq: View, stats: View): void {
  const { rt, wide, masks, scalars, heads, batch } = job;
  const { half } = rt.facts;
  const launch = rt.kernel(keyOf('attentionBackward:q', job, tiles, operands, dq), () => {
    const row = (i: number) => `first + 4u * ty + ${i}u`;
    const stored = headArray(dq.dtype, wide, half);
    const factor = (i: number) => (masks.dropout ? ` * factors(${weightAt(`(${row(i)})`, 'start + 4u * tx')})` : '');
    return {
      buffers: {
        ...arraysOf(job, operands),
        ...masks.buffers,
        lse: input('f32'),
        dq: output(stored),
        stats: output('vec4f'),
      },
      scalars: fieldsOf(job, operands),
      enable: usesHalf([...Object.values(operands), ...Object.values(masks.views), dq], half),
      code: withMath(`${memoryCode(tiles, ['Q', 'G'])}
${POWERS}
${masks.code}
${mainHead(tiles)}
  ${loadRows('Q', 'q', 'first', 'p.queries', tiles, wide, 'p.scale')}
  ${loadRows('G', 'dy', 'first', 'p.queries', tiles, wide)}
  ${declareSum('dq_', tiles)}
  ${four(
    (i) => `var lse${i} = 0.0f; var own${i} = 0.0f; var all${i} = vec4f(); var rests${i} = vec4f();
  if (${row(i)} < p.queries) { lse${i} = lse[p.lseAt + (b * heads + h) * p.queries + ${row(i)}] * ${LOG2E}; }`,
  )}
  workgroupBarrier();
  for (var c = tx; c < ${tiles.columns}u; c += 8u) {
    ${four(
      (i) =>
        `if (${row(i)} < p.queries) { own${i} += dot(G[${place(`4u * ty + ${i}u`, 'c', tiles.stored)}], ${headVector('o', row(i), 'c', wide, tiles)}); }`,
    )}
  }
  ${alongRows('delta', (i) => `own${i}`, 'sum')}
  for (var start = 0u; start < p.keys; start += ${TILE}u) {
    ${loadRows('Y', 'v', 'start', 'p.keys', tiles, wide)}
    workgroupBarrier();
    ${product('g', 'G', tiles)}
    workgroupBarrier();
    ${loadRows('Y', 'k', 'start', 'p.keys', tiles, wide)}
    workgroupBarrier();
    ${product('s', 'Q', tiles)}
    ${maskScores(masks, row, '(start + 4u * tx)')}
    ${four(
      (i) => `s${i} = powers(s${i} - lse${i});
    all${i} += s${i};
    s${i} = s${i} * (g${i}${factor(i)} - delta${i});
    rests${i} += s${i};`,
    )}
    ${storeProduct('s')}
    workgroupBarrier();
    ${addProduct('dq_', 'p.keys', tiles)}
    workgroupBarrier();
  }
  ${alongRows('sum', (i) => `dot(all${i}, vec4f(1.0f))`, 'sum')}
  workgroupBarrier();
  ${alongRows('rest', (i) => `dot(rests${i}, vec4f(1.0f))`, 'sum')}
  let factor = p.scale * ${LN2};
  ${storeSum('dq_', 'dq', stored, 'p.queries', () => 'factor', wide, tiles)}
  ${four(
    (i) => `if (tx == 0u && ${row(i)} < p.queries) {
    let rest = select(rest${i} / sum${i}, 0.0f, sum${i} == 0.0f);
    stats[(b * heads + h) * p.queries + ${row(i)}] = vec4f(lse${i}, delta${i}, rest, 0.0f);
  }`,
  )}
}`),
    };
  });
  const groups = Math.ceil(dq.shape[1] / tiles.rows);
  launch({ ...operands, ...masks.views, lse, dq, stats }, scalars, [groups, heads, batch]);
}

/** dk, dv and, where it is wanted, the gradient of the bias. */
function keyGradients(
  job: Job,
  tiles: Tiles,
  operands: Operands,
  stats: View,
  [dk, dv, dbias]: readonly (View | undefined)[],
): void {
  const { rt, wide, masks, scalars, heads, batch } = job;
  const { half } = rt.facts;
  const result = dk as View;
  const key = `${keyOf('attentionBackward:k', job, tiles, operands, result)}${dbias ? ':g' : ''}`;
  const launch = rt.kernel(key, () => {
    const row = (i: number) => `first + 4u * ty + ${i}u`;
    const query = (j: number) => `start + 4u * tx + ${j}u`;
    const stored = headArray(result.dtype, wide, half);
    const column = (part: string) => `vec4f(${four((j) => `stat${j}.${part}`, ', ')})`;
    const dead = (i: number) => `${row(i)} >= p.keys${masks.padding ? ` || padded(b, ${row(i)})` : ''}`;
    const biased = four((i) => `s${i} += vec4f(${four((j) => `biased(b, h, ${query(j)}, ${row(i)})`, ', ')});`);
    const factors = `${four((j) => `let f${j} = factors(${weightAt(`(${query(j)})`, 'first + 4u * ty')});`)}
    ${four((i) => `let factor${i} = vec4f(${four((j) => `f${j}[${i}]`, ', ')});`)}`;
    const factor = (i: number) => (masks.dropout ? ` * factor${i}` : '');
    const writes = four((i) =>
      four(
        (j) =>
          `if (${row(i)} < p.keys && ${query(j)} < p.queries) { dbias[${weightAt(`(${query(j)})`, row(i))}] = g${i}[${j}]; }`,
      ),
    );
    return {
      buffers: {
        ...arraysOf(job, operands),
        ...masks.buffers,
        stats: input('vec4f'),
        dk: output(stored),
        dv: output(stored),
        ...(dbias ? { dbias: output('f32') } : {}),
      },
      scalars: fieldsOf(job, operands),
      enable: usesHalf([...Object.values(operands), ...Object.values(masks.views), result], half),
      code: withMath(`${memoryCode(tiles, ['K', 'V'])}
${POWERS}
${masks.code}
${mainHead(tiles)}
  ${loadRows('K', 'k', 'first', 'p.keys', tiles, wide)}
  ${loadRows('V', 'v', 'first', 'p.keys', tiles, wide)}
  ${declareSum('dk_', tiles)}
  ${declareSum('dv_', tiles)}
  ${four((i) => `let dead${i} = ${dead(i)};`)}
  for (var start = 0u; start < p.queries; start += ${TILE}u) {
    ${loadRows('Y', 'q', 'start', 'p.queries', tiles, wide, 'p.scale')}
    workgroupBarrier();
    ${product('s', 'K', tiles)}
    workgroupBarrier();
    ${loadRows('Y', 'dy', 'start', 'p.queries', tiles, wide)}
    workgroupBarrier();
    ${product('g', 'V', tiles)}
    ${four((j) => `var stat${j} = vec4f(); if (${query(j)} < p.queries) { stat${j} = stats[(b * heads + h) * p.queries + ${query(j)}]; }`)}
    let lses = ${column('x')};
    let deltas = ${column('y')};
    let rests = ${column('z')};
    ${masks.bias ? biased : ''}
    ${masks.dropout ? factors : ''}
    let behind = vec4<bool>(${four((j) => `${query(j)} >= p.queries`, ', ')});
    ${four(
      (i) => `{
      let w = select(powers(s${i} - lses), vec4f(), behind | vec4<bool>(dead${i}));
      g${i} = select(w * (g${i}${factor(i)} - deltas) - w * rests, vec4f(), behind);
      s${i} = w${factor(i)};
    }`,
    )}
    ${storeProduct('s')}
    workgroupBarrier();
    ${addProduct('dv_', 'p.queries', tiles)}
    ${dbias ? writes : ''}
    workgroupBarrier();
    ${storeProduct('g')}
    ${loadRows('Y', 'q', 'start', 'p.queries', tiles, wide, 'p.scale')}
    workgroupBarrier();
    ${addProduct('dk_', 'p.queries', tiles)}
    workgroupBarrier();
  }
  ${storeSum('dk_', 'dk', stored, 'p.keys', () => LN2, wide, tiles)}
  ${storeSum('dv_', 'dv', stored, 'p.keys', () => '1.0f', wide, tiles)}
}`),
    };
  });
  const results = { dk: result, dv: dv as View, ...(dbias ? { dbias } : {}) };
  const groups = Math.ceil(result.shape[1] / tiles.rows);
  launch({ ...operands, ...masks.views, stats, ...results }, scalars, [groups, heads, batch]);
}

/** The same two dispatches on matrix units. */
function onUnits(
  { rt, masks, scalars, heads, batch }: Job,
  units: Units,
  operands: Operands,
  lse: View,
  stats: View,
  [dq, dk, dv, dbias]: readonly (View | undefined)[],
): void {
  const [queries, keys] = [operands.q.shape[1], operands.k.shape[1]];
  const key = `attentionBackwardMatrix:${unitsKey(units)}:${masks.key}`;
  const byQueries = rt.kernel(`${key}:q`, () => matrixQueryGradients(units, masks));
  const groups = (rows: number): [number, number, number] => [Math.ceil(rows / UNIT_ROWS), heads, batch];
  byQueries({ ...operands, ...masks.views, lse, dq: dq as View, stats }, scalars, groups(queries));
  const byKeys = rt.kernel(`${key}:k${dbias ? 'g' : ''}`, () => matrixKeyGradients(units, masks, dbias !== undefined));
  const results = { dk: dk as View, dv: dv as View, ...(dbias ? { dbias } : {}) };
  const { dy, q, k, v } = operands;
  byKeys({ dy, q, k, v, ...masks.views, stats, ...results }, scalars, groups(keys));
}

export function attentionBackward(rt: Runtime): Kernel {
  const { half } = rt.facts;
  return {
    strided: true,
    plan(inputs, given, outputs) {
      const [dy, q, k, v, o, lse, padding, bias] = inputs as [View, View, View, View, View, View, View?, View?];
      const attrs = given as Attrs;
      const [batch, queries, heads, width] = q.shape;
      const keys = k.shape[1];
      const { maxComputeWorkgroupStorageSize: memory, maxStorageBuffersPerShaderStage: most } = rt.device.limits;
      // One key has all the attention, so queries have no gradient: the decomposition keeps that free of rounding.
      if (keys === 1) return null;
      if (!allFloat(rt.facts, [dy, q, k, v, o, bias ?? null], outputs) || lse.dtype !== 'float32') return null;
      const byQueries = tilesFor(width, queries, 2, MOST_ROWS, memory);
      const byKeys = tilesFor(width, keys, 2, MOST_ROWS, memory);
      if (!byQueries || !byKeys || width === 0 || width > MOST_WIDTH || !isContiguous(lse)) return null;
      if (batch > MOST_GROUPS || heads > MOST_GROUPS || (padding ? 9 : 8) + (bias ? 1 : 0) > most) return null;
      if ((attrs.dropout > 0 || attrs.biasGrad) && batch * heads * queries * keys > 2 ** 32) return null;
      return ([dq, dk, dv, dbias]) => {
        if (batch * heads === 0) return;
        const operands = { dy, q, k, v, o };
        const wide = isWide(Object.values(operands));
        const strides = Object.entries(operands).map(([name, x]) => headScalars(name, x, wide));
        const masks = masksOf(padding ?? null, bias ?? null, attrs, [batch, heads, queries, keys], half);
        const scale = attrs.scale * Math.LOG2E;
        const scalars = { ...Object.assign({}, ...strides), queries, keys, scale, ...masks.scalars };
        const job: Job = { rt, wide, masks, scalars, heads, batch };
        const rows = Math.min(queries, keys);
        const units = unitsFor(rt.facts, memory, Object.values(operands), rows, masks, byQueries);
        withScratch(rt, [{ dtype: 'float32', shape: [batch, heads, queries, 4] }], (stats) => {
          if (units) {
            onUnits(job, units, operands, lse, stats, [dq, dk, dv, dbias]);
            return;
          }
          if (queries > 0) queryGradients(job, byQueries, operands, lse, dq, stats);
          keyGradients(job, byKeys, { dy, q, k, v }, stats, [dk, dv, dbias]);
        });
      };
    },
  };
}

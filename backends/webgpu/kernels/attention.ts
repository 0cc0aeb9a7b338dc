/**
 * softmax(scale q k^T + bias) v, the keys in tiles (Dao et al. 2022): each row carries the largest score so far and the
 * sum of powers under it, so that no more than a tile of scores exists at a time.
 */
import type { Kernel, View } from '../../../core/backend.js';
import type { AttentionAttrs } from '../../../core/ops/attentionBackward.js';
import { maskScores, masksOf, weightAt } from '../attention/masks.js';
import { matrixAttention } from '../attention/matrix.js';
import {
  addProduct,
  alongRows,
  declareSum,
  four,
  headArray,
  headFields,
  headScalars,
  isWide,
  LN2,
  loadRows,
  mainHead,
  memoryCode,
  POWERS,
  product,
  storeProduct,
  storeSum,
  sumNames,
  TILE,
  tilesFor,
  tilesKey,
} from '../attention/tiles.js';
import { UNIT_ROWS, unitsFor, unitsKey } from '../attention/units.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withMath } from '../wgsl/math.js';
import { allFloat } from './views.js';

/** Queries of a workgroup at most. */
const MOST_ROWS = 64;
const MOST_GROUPS = 65535;
const MOST_WIDTH = 128;

export function attention(rt: Runtime): Kernel {
  const { half } = rt.facts;
  return {
    strided: true,
    plan(inputs, given, outputs) {
      const [q, k, v, padding, bias] = inputs as [View, View, View, View | null, View | null];
      const attrs = given as AttentionAttrs;
      const [batch, queries, heads, width] = q.shape;
      const keys = k.shape[1];
      const memory = rt.device.limits.maxComputeWorkgroupStorageSize;
      if (!allFloat(rt.facts, [q, k, v, bias], outputs) || width === 0 || width > MOST_WIDTH) return null;
      const tiles = tilesFor(width, queries, 1, MOST_ROWS, memory);
      if (!tiles || batch > MOST_GROUPS || heads > MOST_GROUPS) return null;
      if (attrs.dropout > 0 && batch * heads * queries * keys > 2 ** 32) return null;
      return ([o, lse]) => {
        if (batch * queries * heads === 0) return;
        const operands = { q, k, v };
        const wide = isWide([q, k, v]);
        const masks = masksOf(padding, bias, attrs, [batch, heads, queries, keys], half);
        const units = unitsFor(rt.facts, memory, [q, k, v], queries, masks, tiles);
        const scalars = Object.entries(operands).map(([name, x]) => headScalars(name, x, wide));
        const all = {
          ...Object.assign({}, ...scalars),
          queries,
          keys,
          scale: attrs.scale * Math.LOG2E,
          ...masks.scalars,
        };
        const views = { ...operands, ...masks.views, o, lse };
        if (units) {
          const name = `attentionMatrix:${unitsKey(units)}:${masks.key}`;
          const launch = rt.kernel(name, () => matrixAttention(units, masks));
          launch(views, all, [Math.ceil(queries / UNIT_ROWS), heads, batch]);
          return;
        }
        const key = `attention:${q.dtype},${k.dtype},${v.dtype}:${o.dtype}:${tilesKey(tiles)}:${wide}:${masks.key}`;
        const launch = rt.kernel(key, () => {
          const fields = ['q', 'k', 'v'].map((name) => headFields(name, wide));
          const arrays = Object.entries(operands).map(([name, x]) => [name, input(headArray(x.dtype, wide, half))]);
          const stored = headArray(o.dtype, wide, half);
          const row = (i: number) => `first + 4u * ty + ${i}u`;
          return {
            buffers: { ...Object.fromEntries(arrays), ...masks.buffers, o: output(stored), lse: output('f32') },
            scalars: {
              ...Object.assign({}, ...fields),
              queries: 'u32',
              keys: 'u32',
              scale: 'f32',
              ...masks.fields,
            },
            enable: usesHalf([q, k, v, o, ...(bias ? [bias] : [])], half),
            code: withMath(`${memoryCode(tiles, ['Q'])}
${POWERS}
${masks.code}
${mainHead(tiles)}
  ${loadRows('Q', 'q', 'first', 'p.queries', tiles, wide, 'p.scale')}
  ${declareSum('o_', tiles)}
  ${four((i) => `var top${i} = -inf_(); var all${i} = vec4f();`)}
  for (var start = 0u; start < p.keys; start += ${TILE}u) {
    ${loadRows('Y', 'k', 'start', 'p.keys', tiles, wide)}
    workgroupBarrier();
    ${product('s', 'Q', tiles)}
    ${maskScores(masks, row, '(start + 4u * tx)')}
    ${alongRows('most', (i) => `max(max(s${i}.x, s${i}.y), max(s${i}.z, s${i}.w))`, 'max')}
    ${loadRows('Y', 'v', 'start', 'p.keys', tiles, wide)}
    ${four((i) => {
      // Where every key so far is masked, powers are of -Infinity and not of NaN.
      const factor = masks.dropout ? ` * factors(${weightAt(`(${row(i)})`, 'start + 4u * tx')})` : '';
      const scaled = sumNames('o_', tiles)[i].map((name) => `${name} *= fade;`);
      return `{
      let above = max(top${i}, most${i});
      let shift = select(above, 0.0f, above == -inf_());
      let fade = powers(vec4f(top${i} - shift)).x;
      top${i} = above;
      s${i} = powers(s${i} - shift);
      all${i} = fma(all${i}, vec4f(fade), s${i});
      s${i} = s${i}${factor};
      ${scaled.join(' ')}
    }`;
    })}
    ${storeProduct('s')}
    workgroupBarrier();
    ${addProduct('o_', 'p.keys', tiles)}
    workgroupBarrier();
  }
  ${alongRows('sum', (i) => `dot(all${i}, vec4f(1.0f))`, 'sum')}
  ${four((i) => `let inverse${i} = select(1.0f / sum${i}, 0.0f, sum${i} == 0.0f);`)}
  ${storeSum('o_', 'o', stored, 'p.queries', (i) => `inverse${i}`, wide, tiles)}
  ${four(
    (i) => `if (tx == 0u && ${row(i)} < p.queries) {
    lse[(b * heads + h) * p.queries + ${row(i)}] = select(fma(top${i}, ${LN2}, log_(sum${i})), 0.0f, sum${i} == 0.0f);
  }`,
  )}
}`),
          };
        });
        launch(views, all, [Math.ceil(queries / tiles.rows), heads, batch]);
      };
    },
  };
}

/** What changes scores and probabilities: key padding, a bias of any strides, dropout. */
import type { View } from '../../../core/backend.js';
import { broadcastStrides } from '../../../core/layout.js';
import type { AttentionAttrs } from '../../../core/ops/attentionBackward.js';
import { type Binding, input, type Scalars } from '../program.js';
import { arrayType, isInteger, loader } from '../wgsl/access.js';
import { PHILOX } from '../wgsl/philox.js';
import { four, LOG2E } from './tiles.js';

/** What a kernel needs for its masks. */
export interface Masks {
  readonly key: string;
  readonly buffers: Readonly<Record<string, Binding>>;
  readonly fields: Scalars;
  readonly code: string;
  readonly views: Readonly<Record<string, View>>;
  readonly scalars: Readonly<Record<string, number>>;
  readonly padding: boolean;
  readonly bias: boolean;
  readonly dropout: boolean;
}

/** `shape` is [B, H, Lq, Lk]. */
export function masksOf(
  padding: View | null,
  bias: View | null,
  attrs: AttentionAttrs,
  shape: readonly number[],
  half: boolean,
): Masks {
  const [batch, , , keys] = shape;
  const buffers: Record<string, Binding> = {};
  const fields: Record<string, 'u32' | 'f32'> = {};
  const scalars: Record<string, number> = {};
  const views: Record<string, View> = {};
  const code: string[] = [];
  const strided = (name: string, view: View, to: readonly number[], steps: readonly string[]) => {
    buffers[name] = input(arrayType(view.dtype, half));
    views[name] = view;
    const strides = broadcastStrides(view, to);
    steps.forEach((step, i) => {
      fields[name + step] = 'u32';
      scalars[name + step] = strides[i];
    });
  };
  if (padding) {
    strided('padding', padding, [batch, keys], ['Batch', 'Key']);
    code.push(`${loader('padding', padding.dtype, half, isInteger(padding.dtype) ? 'i32' : 'f32')}
fn padded(b: u32, key: u32) -> bool { return load_padding(p.paddingAt + b * p.paddingBatch + key * p.paddingKey) != ${isInteger(padding.dtype) ? '0' : '0.0f'}; }`);
  }
  if (bias) {
    strided('bias', bias, shape, ['Batch', 'Head', 'Query', 'Key']);
    code.push(`${loader('bias', bias.dtype, half)}
fn biased(b: u32, h: u32, query: u32, key: u32) -> f32 {
  return load_bias(p.biasAt + b * p.biasBatch + h * p.biasHead + query * p.biasQuery + key * p.biasKey) * ${LOG2E};
}`);
  }
  const dropout = attrs.dropout > 0;
  if (dropout) {
    for (const name of ['k0', 'k1', 'c0', 'c1']) fields[name] = 'u32';
    fields.threshold = fields.kept = 'f32';
    Object.assign(scalars, dropoutScalars(attrs));
    code.push(DROPOUT);
  }
  const key = `${padding ? `p${padding.dtype}` : ''}${bias ? `b${bias.dtype}` : ''}${dropout ? 'd' : ''}`;
  return { key, buffers, fields, code: code.join('\n'), views, scalars, padding: !!padding, bias: !!bias, dropout };
}

/** As `dropout` compares: bits and threshold meet as float32. */
const dropoutScalars = ({ dropout, seed, counter }: AttentionAttrs): Record<string, number> => ({
  k0: seed[0],
  k1: seed[1],
  c0: counter[0],
  c1: counter[1],
  threshold: (dropout - 0.5) * 2 ** 32,
  kept: 1 / (1 - dropout),
});

/** `factors(e)`: what elements e to e + 3 of the weights are multiplied with. */
const DROPOUT = `${PHILOX}
fn factors(e: u32) -> vec4f {
  let seed = vec2u(p.k0, p.k1);
  var bits = philox(seed, after(vec2u(p.c0, p.c1), e >> 2u));
  let shift = e & 3u;
  if (shift != 0u) {
    let next = philox(seed, after(vec2u(p.c0, p.c1), (e >> 2u) + 1u));
    if (shift == 1u) { bits = vec4u(bits.yzw, next.x); }
    else if (shift == 2u) { bits = vec4u(bits.zw, next.xy); }
    else { bits = vec4u(bits.w, next.xyz); }
  }
  return select(vec4f(p.kept), vec4f(), vec4f(bitcast<vec4i>(bits)) < vec4f(p.threshold));
}`;

/** Number of the weight of a query and a key. */
export const weightAt = (query: string, key: string): string =>
  `((b * heads + h) * p.queries + ${query}) * p.keys + ${key}`;

/**
 * Statements that finish the scores s0 to s3 of rows `query` and columns `key` (the first of four): bias, then -Infinity
 * where there is nothing to attend to.
 */
export function maskScores({ padding, bias }: Masks, query: (i: number) => string, key: string): string {
  const added = bias
    ? four((i) => `s${i} += vec4f(${four((j) => `biased(b, h, ${query(i)}, ${key} + ${j}u)`, ', ')});`)
    : '';
  const dead = four((j) => {
    const behind = `${key} + ${j}u >= p.keys`;
    return padding ? `(${behind}) | padded(b, ${key} + ${j}u)` : behind;
  }, ', ');
  return `${added}
  let dead = vec4<bool>(${dead});
  ${four((i) => `s${i} = select(s${i}, vec4f(-inf_()), dead);`)}`;
}

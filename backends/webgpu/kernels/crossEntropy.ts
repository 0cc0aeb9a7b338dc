/**
 * Cross entropy of integer targets straight from the logits, and its gradient: no softmax is ever stored. The maximum and
 * the sum of exponentials of a row are found in one pass; long rows of which there are few are split into ranges.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { usesHalf } from '../elementwise.js';
import { input, output, type Scalars } from '../program.js';
import { type Fold, geometryOf, inPasses, pass } from '../reduce.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { arrayType, loader, MAIN, perWord, THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';

interface Attrs {
  readonly smoothing: number;
  readonly ignoreIndex: number;
}

/** The largest logit, the sum of exponentials of the distances from it, and, for smoothing, the sum of logits. */
const STATE = (smooth: boolean) => `struct State { top: f32, sum: f32${smooth ? ', all: f32' : ''} }
fn start() -> State { return State(-3.4028234e38f, 0.0f${smooth ? ', 0.0f' : ''}); }
fn join(a: State, b: State) -> State {
  let top = max(a.top, b.top);
  return State(top, a.sum * exp_(a.top - top) + b.sum * exp_(b.top - top)${smooth ? ', a.all + b.all' : ''});
}`;

/** One exponential an element; a logit that is no number makes the sum none. */
const TAKE = (smooth: boolean) => `fn take(s: State, at: u32, j: u32) -> State {
  let v = load_x(p.xAt + at);
  let above = v - s.top;
  let e = exp_(-abs(above));
  return State(max(v, s.top), select(s.sum + e, fma(s.sum, e, 1.0f), above > 0.0f)${smooth ? ', s.all + v' : ''});
}`;

const FIELDS: Scalars = { ignore: 'i32' };
const SMOOTH_FIELDS: Scalars = { ...FIELDS, smoothing: 'f32' };

const FINISH = (smooth: boolean) => `let id = load_ids(p.idsAt + o);
    // Nothing but minus infinity, or an infinity: as the definition has it.
    let whole = s.sum >= 1.0f && s.top < inf_();
    let total = select(nan_(), s.top + log_(s.sum), whole);
    lse[o] = total;
    var l = nan_();
    if (u32(id) < p.line_s0) {
      l = total - load_x(p.xAt + line(o) + u32(id));
      ${smooth ? 'l = (1.0f - p.smoothing) * l + p.smoothing * (total - s.all / f32(p.line_s0));' : ''}
    }
    loss[o] = select(l, 0.0f, id == p.ignore);`;

export const crossEntropy = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [x, target] = inputs as [View, View];
    const { smoothing, ignoreIndex } = attrs as Attrs;
    const { half } = rt.facts;
    const smooth = smoothing !== 0;
    const [rows, classes] = x.shape;
    return ([loss, lse]) => {
      if (rows === 0) return;
      const geometry = geometryOf(x, [1]);
      const key = `crossEntropy:${x.dtype}:${target.dtype}:${smooth}`;
      const source = { x: input(arrayType(x.dtype, half)) };
      const load = loader('x', x.dtype, half);
      const result = {
        outputs: { loss: output('f32'), lse: output('f32') },
        store: FINISH(smooth),
        enable: usesHalf([x], half),
        walks: [{ name: 'line', shape: [rows], strides: [classes] }],
        fields: smooth ? SMOOTH_FIELDS : FIELDS,
        scalars: { ignore: ignoreIndex, ...(smooth ? { smoothing } : {}) },
      };
      const ends = { ids: input(arrayType(target.dtype, half)) };
      const loadTarget = loader('ids', target.dtype, half, 'i32');
      inPasses(
        geometry,
        (tile) => {
          const code = `${load}\n${loadTarget}\n${STATE(smooth)}\n${TAKE(smooth)}`;
          const fold: Fold = { key, code, inputs: { ...source, ...ends }, ...result };
          pass(rt, fold, geometry, tile, 1, { x, ids: target, loss, lse });
        },
        (tile, ranges, joined, joinedTile) => {
          const numbers = { dtype: 'float32' as const, shape: [ranges, rows] };
          withScratch(rt, [numbers, numbers, numbers], (tops, sums, alls) => {
            const names = ['tops', 'sums', ...(smooth ? ['alls'] : [])];
            const between = { tops, sums, ...(smooth ? { alls } : {}) };
            const part: Fold = {
              key: `${key}:part`,
              code: `${load}\n${STATE(smooth)}\n${TAKE(smooth)}`,
              inputs: source,
              outputs: Object.fromEntries(names.map((name) => [name, output('f32')])),
              store: `tops[o] = s.top; sums[o] = s.sum; ${smooth ? 'alls[o] = s.all;' : ''}`,
              enable: usesHalf([x], half),
            };
            pass(rt, part, geometry, tile, ranges, { x, ...between });
            const join: Fold = {
              key: `${key}:join`,
              code: `${load}\n${loadTarget}\n${STATE(smooth)}
fn item(at: u32, j: u32) -> State { return State(${names.map((name) => `${name}[at]`).join(', ')}); }`,
              inputs: { ...source, ...ends, ...Object.fromEntries(names.map((name) => [name, input('f32')])) },
              ...result,
            };
            pass(rt, join, joined, joinedTile, 1, { x, ids: target, ...between, loss, lse });
          });
        },
      );
    };
  },
});

export const crossEntropyBackward = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const [dloss, x, lse, target] = inputs as [View, View, View, View];
    const { smoothing, ignoreIndex } = attrs as Attrs;
    const { half } = rt.facts;
    const [, classes] = x.shape;
    return ([dx]) => {
      const n = sizeOf(x.shape);
      if (n === 0) return;
      const fours = x.offset % 4 === 0 && perWord(x.dtype, half) === 1 && perWord(dx.dtype, half) === 1;
      const lanes = fours ? 4 : 1;
      const dtypes = [dloss, x, lse, target].map((v) => v.dtype);
      const launch = rt.kernel(`crossEntropyBackward:${dtypes}:${fours}`, () => {
        const vector = (type: string) => (fours ? `vec4<${type}>` : type);
        const type = arrayType(dx.dtype, half);
        return {
          buffers: {
            dloss: input(arrayType(dloss.dtype, half)),
            x: input(vector(arrayType(x.dtype, half))),
            lse: input(arrayType(lse.dtype, half)),
            ids: input(arrayType(target.dtype, half)),
            dx: output(vector(type)),
          },
          scalars: { n: 'u32', classes: 'u32', ignore: 'i32', spread: 'f32', hit: 'f32' },
          enable: usesHalf([dloss, x, lse], half),
          code: withMath(`${loader('dloss', dloss.dtype, half)}
${loader('lse', lse.dtype, half)}
${loader('ids', target.dtype, half, 'i32')}
${MAIN}
  let first = t * ${lanes}u;
  if (first >= p.n) { return; }
  let v = ${vector('f32')}(x[${fours ? '(p.xAt >> 2u)' : 'p.xAt'} + t]);
  var row = first / p.classes;
  var column = first % p.classes;
  var id = load_ids(p.idsAt + row);
  var scale = load_dloss(p.dlossAt + row);
  var total = load_lse(p.lseAt + row);
  var d = ${vector('f32')}();
  ${Array.from({ length: lanes }, (_, k) => {
    const at = fours ? `[${k}]` : '';
    const step = `column++;
  if (column == p.classes && first + ${k}u < p.n) {
    column = 0u;
    row++;
    id = load_ids(p.idsAt + row);
    scale = load_dloss(p.dlossAt + row);
    total = load_lse(p.lseAt + row);
  }`;
    return `${k === 0 ? '' : step}
  if (id != p.ignore) {
    let wanted = p.spread + select(0.0f, p.hit, u32(id) == column);
    d${at} = (exp_(v${at} - total) - wanted) * scale;
  }`;
  }).join('\n  ')}
  dx[t] = ${vector(type)}(d);
}`),
        };
      });
      const scalars = { n, classes, ignore: ignoreIndex, spread: smoothing / classes, hit: 1 - smoothing };
      launch({ dloss, x, lse, ids: target, dx }, scalars, Math.ceil(n / (THREADS * lanes)));
    };
  },
});

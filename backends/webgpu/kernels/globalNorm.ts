/** The norm of many tensors: they are laid out one after the other and summed up in a few large launches. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { MAIN, THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';
import { piecesOf, withPiece } from './flat.js';

/** Elements of a workgroup. */
const CHUNK = 16384;

const SUM = `var<workgroup> parts: array<f32, ${THREADS}>;
// The sum of what all invocations have, in the first.
fn total(own: f32, lane: u32) -> f32 {
  parts[lane] = own;
  for (var half = ${THREADS / 2}u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (lane < half) { parts[lane] += parts[lane + half]; }
  }
  return parts[lane];
}`;

/** partial[first + group] = the sum of squares of a group's elements. */
const squares = (rt: Runtime) =>
  rt.kernel('globalNorm:squares', () => ({
    buffers: { x: input('f32'), partial: output('f32') },
    scalars: { n: 'u32', first: 'u32' },
    code: `${SUM}
${MAIN}
  let group = t / ${THREADS}u;
  var sums = vec4f();
  let end = min(p.n, (group + 1u) * ${CHUNK}u);
  var i = group * ${CHUNK}u + lane;
  // Four at a time, so that loads overlap.
  for (; i + ${3 * THREADS}u < end; i += ${4 * THREADS}u) {
    let v = vec4f(x[p.xAt + i], x[p.xAt + i + ${THREADS}u], x[p.xAt + i + ${2 * THREADS}u], x[p.xAt + i + ${3 * THREADS}u]);
    sums += v * v;
  }
  for (; i < end; i += ${THREADS}u) {
    let v = x[p.xAt + i];
    sums.x += v * v;
  }
  let all = total(dot(sums, vec4f(1.0f)), lane);
  if (lane == 0u && group * ${CHUNK}u < p.n) { partial[p.first + group] = all; }
}`,
  }));

const root = (rt: Runtime) =>
  rt.kernel('globalNorm:root', () => ({
    buffers: { partial: input('f32'), y: output('f32') },
    scalars: { n: 'u32' },
    code: withMath(`${SUM}
${MAIN}
  var sum = 0.0f;
  for (var i = t; i < p.n; i += ${THREADS}u) { sum += partial[i]; }
  let all = total(sum, lane);
  if (lane == 0u) { y[0] = select(sqrt(all), all, all == inf_()); }
}`),
  }));

export const globalNorm = (rt: Runtime): Kernel => ({
  plan(inputs, _, [{ dtype }]) {
    const views = inputs as readonly View[];
    if (dtype !== 'float32') return null;
    return ([y]) => {
      const tensors = views.map((view) => ({ view, size: sizeOf(view.shape) }));
      const pieces = piecesOf(rt, tensors, 1);
      const groupsOf = (n: number) => Math.ceil(n / CHUNK);
      const counts = pieces.map((piece) => groupsOf(piece.size));
      const partials = counts.reduce((a, b) => a + b, 0);
      withScratch(rt, [{ dtype: 'float32', shape: [partials] }], (partial) => {
        let first = 0;
        pieces.forEach((piece, i) => {
          withPiece(rt, piece, (x) => squares(rt)({ x, partial }, { n: piece.size, first }, counts[i]));
          first += counts[i];
        });
        root(rt)({ partial, y }, { n: partials });
      });
    };
  },
});

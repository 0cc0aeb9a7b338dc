/**
 * Gradients of layer norm. Each workgroup has a range of rows: it writes their dx and one partial sum of the gradients of
 * weight and bias; a second dispatch adds the partial sums, in the same order every time.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { THREADS } from '../wgsl/access.js';
import {
  rowPasses,
  rowsAtOnce,
  rowsMain,
  rowsOf,
  type Teams,
  teamReduction,
  teamsFor,
  teamsKey,
  total,
  usesSubgroups,
  vectorArray,
  vectorAt,
} from '../wgsl/rows.js';
import { allFloat } from './views.js';

/** Vectors of dy and x, and of two sums, that an invocation holds each. */
const MOST_HELD = 6;
/** Workgroups for which there are rows enough: more would fill no GPU better and leave more partial sums. */
const ENOUGH_GROUPS = 256;
/** Columns and strips of partial sums in a workgroup of the second dispatch. */
const COLUMNS = 32;
const STRIPS = THREADS / COLUMNS;

function sweep(rt: Runtime, teams: Teams, inputs: readonly (View | null)[], dx: View, isSplit: boolean) {
  const { facts } = rt;
  const { half } = facts;
  const { team, type, held } = teams;
  const [dy, x, mean, rstd, wA, wB = null] = inputs as [View, View, View, View, View | null, View?];
  const key = `layerNormBackward:${[...inputs, dx].map((s) => s?.dtype ?? '')}:${isSplit}:${teamsKey(teams)}`;
  const launch = rt.kernel(key, () => {
    const { globals, head } = rowsMain(teams, facts);
    const loads = { g: vectorAt('dy', 'at + c', teams), v: vectorAt('x', 'at + c', teams) };
    const passes = rowPasses(teams, loads, ['dw', 'db']);
    const stored = vectorArray(dx.dtype, teams, half);
    const weight = (w: View | null, name: string) => (w ? `g = g * ${vectorAt(name, 'c', teams)};` : '');
    const scaled = wB ? `if (second) { ${weight(wB, 'wB')} } else { ${weight(wA, 'wA')} }` : weight(wA, 'wA');
    const sums = Array.from({ length: held }, (_, k) => `var dw${k} = ${type}(); var db${k} = ${type}();`);
    const partials = Array.from(
      { length: held },
      (_, k) => `shared_dw[lane] = dw${k};
  shared_db[lane] = db${k};
  workgroupBarrier();
  if (lane < ${team}u && lane + ${k * team}u < p.columns) {
    var dw = shared_dw[lane];
    var db = shared_db[lane];
    for (var j = lane + ${team}u; j < ${THREADS}u; j += ${team}u) { dw += shared_dw[j]; db += shared_db[j]; }
    partial[2u * group * p.columns + lane + ${k * team}u] = dw;
    partial[(2u * group + 1u) * p.columns + lane + ${k * team}u] = db;
  }
  workgroupBarrier();`,
    );
    return {
      buffers: {
        dy: input(vectorArray(dy.dtype, teams, half)),
        x: input(vectorArray(x.dtype, teams, half)),
        means: input('f32'),
        rstds: input('f32'),
        ...(wA ? { wA: input(vectorArray(wA.dtype, teams, half)) } : {}),
        ...(wB ? { wB: input(vectorArray(wB.dtype, teams, half)) } : {}),
        dx: output(stored),
        partial: output(type),
      },
      scalars: {
        rows: 'u32',
        columns: 'u32',
        width: 'f32',
        each: 'u32',
        ...(isSplit ? ({ length: 'u32', split: 'u32', batch: 'u32', groupsA: 'u32' } as const) : {}),
      },
      enable: [...usesHalf([dy, x, dx, ...[wA, wB].filter((w) => w !== null)], half), ...usesSubgroups(facts)],
      code: `${globals}
${teamReduction('teamSum', 'add', 'vec2f', team, facts)}
var<workgroup> shared_dw: array<${type}, ${THREADS}>;
var<workgroup> shared_db: array<${type}, ${THREADS}>;
${head}
  ${
    isSplit
      ? `let second = group >= p.groupsA;
  let first = select(group, group - p.groupsA, second) * p.each * ${rowsAtOnce(teams)}u;
  let length = select(p.split, p.length - p.split, second);
  let start = select(0u, p.split, second);
  let rows = p.batch * length;`
      : `let first = group * p.each * ${rowsAtOnce(teams)}u;
  let rows = p.rows;`
  }
  ${sums.join(' ')}
  for (var r = 0u; r < p.each; r++) {
    let i = first + r * ${rowsAtOnce(teams)}u + lane / ${team}u;
    let inside = i < rows;
    let row = ${isSplit ? 'select(0u, i / length * p.length + start + i % length, inside)' : 'select(0u, i, inside)'};
    let at = row * p.columns;
    let mean = means[p.meansAt + row];
    let rstd = rstds[p.rstdsAt + row];
    ${passes.load}
    var sums = ${type}();
    var products = ${type}();
    ${passes.pass(() => `v = (v - mean) * rstd; dw = fma(g, v, dw); db += g; ${scaled} sums += g; products = fma(g, v, products);`, 'writes')}
    let average = teamSum(vec2f(${total('sums', teams)}, ${total('products', teams)})) / p.width;
    ${passes.pass(() => `dx[at + c] = ${stored}(rstd * (g - average.x - v * average.y));`, 'writes')}
  }
  ${partials.join('\n  ')}
}`,
    };
  });
  const weights = { ...(wA ? { wA } : {}), ...(wB ? { wB } : {}) };
  return (partial: View, scalars: Readonly<Record<string, number>>, groups: number) =>
    launch({ dy, x, means: mean, rstds: rstd, ...weights, dx, partial }, scalars, groups);
}

/** Adds the partial sums [group, dw or db, width] of the first groups into the first two outputs, of the others into the rest. */
function addPartials(
  rt: Runtime,
  partial: View,
  outputs: readonly View[],
  width: number,
  groupsA: number,
  groups: number,
): void {
  const { half } = rt.facts;
  const { dtype } = outputs[0];
  const names = outputs.map((_, i) => `y${i}`);
  const launch = rt.kernel(`layerNormPartials:${dtype}:${outputs.length}`, () => {
    const store = names.map(
      (name, i) => `case ${i}u: { ${name}[column] = ${dtype === 'float16' ? 'f16(sum)' : 'sum'}; }`,
    );
    return {
      buffers: {
        partial: input('f32'),
        ...Object.fromEntries(names.map((name) => [name, output(dtype === 'float16' ? 'f16' : 'f32')])),
      },
      scalars: { width: 'u32', groupsA: 'u32', groups: 'u32' },
      enable: usesHalf(outputs, half),
      code: `var<workgroup> strips: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let column = group_id.x * ${COLUMNS}u + lane % ${COLUMNS}u;
  let way = group_id.y;
  let end = select(p.groupsA, p.groups, way >= 2u);
  var sum = 0.0f;
  if (column < p.width) {
    for (var g = select(0u, p.groupsA, way >= 2u) + lane / ${COLUMNS}u; g < end; g += ${STRIPS}u) {
      sum += partial[(2u * g + way % 2u) * p.width + column];
    }
  }
  strips[lane] = sum;
  workgroupBarrier();
  if (lane >= ${COLUMNS}u || column >= p.width) { return; }
  for (var j = lane + ${COLUMNS}u; j < ${THREADS}u; j += ${COLUMNS}u) { sum += strips[j]; }
  switch way {
    ${store.join('\n    ')}
    default: {}
  }
}`,
    };
  });
  const views = Object.fromEntries(outputs.map((y, i) => [names[i], y]));
  launch({ partial, ...views }, { width, groupsA, groups }, [Math.ceil(width / COLUMNS), outputs.length]);
}

function backward(rt: Runtime): Kernel {
  const { facts } = rt;
  return {
    plan(inputs, attrs, outputs) {
      const x = inputs[1] as View;
      const width = x.shape[x.shape.length - 1];
      if (!allFloat(facts, inputs, outputs) || width === 0) return null;
      const byVectors = [inputs[0], x, inputs[4], inputs[5] ?? null];
      const teams = teamsFor(width, byVectors, facts, MOST_HELD);
      if (teams.held === 0) return null;
      const { split } = attrs as { readonly split?: number };
      const rows = rowsOf(x);
      return ([dx, ...gradients]) => {
        const batch = x.shape[0];
        const length = x.shape[1] ?? 1;
        const atOnce = rowsAtOnce(teams);
        const each = Math.max(1, Math.ceil(rows / (atOnce * ENOUGH_GROUPS)));
        const groupsFor = (n: number) => Math.ceil(n / (atOnce * each));
        const groupsA = groupsFor(split === undefined ? rows : batch * split);
        const groups = groupsA + (split === undefined ? 0 : groupsFor(batch * (length - split)));
        const scalars = { rows, columns: teams.columns, width, each, length, split: split ?? 0, batch, groupsA };
        withScratch(rt, [{ dtype: 'float32', shape: [groups, 2, width] }], (partial) => {
          if (groups > 0) sweep(rt, teams, inputs, dx, split !== undefined)(partial, scalars, groups);
          addPartials(rt, partial, gradients, width, groupsA, groups);
        });
      };
    },
  };
}

export const layerNormBackward = (rt: Runtime): Kernel => backward(rt);
export const multiwayLayerNormBackward = (rt: Runtime): Kernel => backward(rt);

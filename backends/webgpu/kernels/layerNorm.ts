/** Layer norm, with one weight and bias or with two (those of rows before and from a split). */
import type { Kernel, View } from '../../../core/backend.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import {
  rowPasses,
  rowsAtOnce,
  rowsMain,
  rowsOf,
  teamReduction,
  teamsFor,
  teamsKey,
  total,
  usesSubgroups,
  vectorArray,
  vectorAt,
} from '../wgsl/rows.js';
import { allFloat } from './views.js';

interface Attrs {
  readonly eps: number;
  readonly split?: number;
}

/** The weights and biases that there are, by their names in the kernel. */
const WAYS = ['wA', 'bA', 'wB', 'bB'] as const;

function forward(rt: Runtime): Kernel {
  const { facts } = rt;
  const { half } = facts;
  return {
    plan(inputs, attrs, outputs) {
      const [x, ...parameters] = inputs as [View, ...(View | null)[]];
      const width = x.shape[x.shape.length - 1];
      if (!allFloat(facts, inputs, outputs) || width === 0) return null;
      const { eps, split } = attrs as Attrs;
      const rows = rowsOf(x);
      return ([y, mean, rstd]) => {
        const teams = teamsFor(width, inputs, facts);
        const given = parameters.flatMap((view, i) => (view ? [{ name: WAYS[i], view }] : []));
        const key = `layerNorm:${inputs.map((s) => s?.dtype ?? '')}:${y.dtype}:${split !== undefined}:${teamsKey(teams)}`;
        const launch = rt.kernel(key, () => {
          const { type } = teams;
          const { globals, head } = rowsMain(teams, facts);
          const passes = rowPasses(teams, { v: vectorAt('x', 'at + c', teams) });
          const stored = vectorArray(y.dtype, teams, half);
          // (x - mean) rstd w + b
          const put = (w: string, b: string) => {
            const has = (name: string) => given.some((g) => g.name === name);
            const value = '(v - mean) * rstd';
            const scaled = has(w) ? `${value} * ${vectorAt(w, 'c', teams)}` : value;
            return `y[at + c] = ${stored}(${has(b) ? `${scaled} + ${vectorAt(b, 'c', teams)}` : scaled});`;
          };
          const write = passes.pass(() => put('wA', 'bA'), 'writes');
          const second = passes.pass(() => put('wB', 'bB'), 'writes');
          return {
            buffers: {
              x: input(vectorArray(x.dtype, teams, half)),
              ...Object.fromEntries(given.map((g) => [g.name, input(vectorArray(g.view.dtype, teams, half))])),
              y: output(stored),
              means: output('f32'),
              rstds: output('f32'),
            },
            scalars: {
              rows: 'u32',
              columns: 'u32',
              width: 'f32',
              eps: 'f32',
              ...(split === undefined ? {} : { length: 'u32' as const, split: 'u32' as const }),
            },
            enable: [...usesHalf([x, y, ...given.map((g) => g.view)], half), ...usesSubgroups(facts)],
            code: `${globals}
${teamReduction('teamSum', 'add', 'f32', teams.team, facts)}
${head}
  let row = group * ${rowsAtOnce(teams)}u + lane / ${teams.team}u;
  let inside = row < p.rows;
  let at = min(row, p.rows - 1u) * p.columns;
  ${passes.load}
  var sums = ${type}();
  ${passes.pass(() => 'sums += v;')}
  let mean = teamSum(${total('sums', teams)}) / p.width;
  var squares = ${type}();
  ${passes.pass(() => '{ let d = v - mean; squares = fma(d, d, squares); }')}
  let rstd = 1.0f / sqrt(teamSum(${total('squares', teams)}) / p.width + p.eps);
  if (inside && me == 0u) { means[row] = mean; rstds[row] = rstd; }
  ${split === undefined ? write : `if (row % p.length < p.split) {\n  ${write}\n  } else {\n  ${second}\n  }`}
}`,
          };
        });
        const views = Object.fromEntries(given.map((g) => [g.name, g.view]));
        launch(
          { x, ...views, y, means: mean, rstds: rstd },
          { rows, columns: teams.columns, width, eps, length: x.shape[1], split: split ?? 0 },
          Math.ceil(rows / rowsAtOnce(teams)),
        );
      };
    },
  };
}

export const layerNorm = (rt: Runtime): Kernel => forward(rt);
export const multiwayLayerNorm = (rt: Runtime): Kernel => forward(rt);

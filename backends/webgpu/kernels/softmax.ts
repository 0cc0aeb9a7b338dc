/** softmax and logSoftmax over the last axis, and their gradients. */
import type { Kernel, View } from '../../../core/backend.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withMath } from '../wgsl/math.js';
import {
  type RowPasses,
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

/** What is done to a row: statements that end with `put(column, vector)`. */
type RowCode = (teams: Teams, passes: RowPasses) => string;

/** The largest element as `top`. A NaN may get lost here: every later step brings it back. */
const largest = ({ type, lanes }: Teams, { pass }: RowPasses): string => {
  const most = lanes === 4 ? 'max(max(tops.x, tops.y), max(tops.z, tops.w))' : 'tops';
  return `var tops = ${type}(-inf_());
  ${pass((v) => `tops = max(tops, ${v});`)}
  let top = teamMax(${most});`;
};

/** e^v for each element. */
const exps = (v: string, { lanes }: Teams): string =>
  lanes === 4 ? `vec4f(${[0, 1, 2, 3].map((i) => `exp_(${v}[${i}])`).join(', ')})` : `exp_(${v})`;

const SOFTMAX: RowCode = (teams, passes) => {
  const e = exps('d', teams);
  const again = teams.held === 0 ? `let d = a - ${teams.type}(top); a = ${e};` : '';
  return `${largest(teams, passes)}
  var sums = ${teams.type}();
  ${passes.pass(() => `{ let d = a - ${teams.type}(top); a = ${e}; sums += a; }`)}
  let all = teamSum(${total('sums', teams)});
  ${passes.pass(() => `${again} put(c, a / all);`, 'writes')}`;
};

const LOG_SOFTMAX: RowCode = (teams, passes) => `${largest(teams, passes)}
  var sums = ${teams.type}();
  ${passes.pass(() => `{ let d = a - ${teams.type}(top); sums += ${exps('d', teams)}; }`)}
  let all = log_(teamSum(${total('sums', teams)}));
  ${passes.pass(() => 'put(c, (a - top) - all);', 'writes')}`;

/** dx = y (dy - sum(dy y)) */
const SOFTMAX_BACKWARD: RowCode = (teams, { pass }) => `var sums = ${teams.type}();
  ${pass(() => 'sums = fma(a, b, sums);')}
  let all = teamSum(${total('sums', teams)});
  ${pass(() => 'put(c, b * (a - all));', 'writes')}`;

/** dx = dy - e^y sum(dy) */
const LOG_SOFTMAX_BACKWARD: RowCode = (teams, { pass }) => `var sums = ${teams.type}();
  ${pass(() => 'sums += a;')}
  let all = teamSum(${total('sums', teams)});
  ${pass(() => `{ let d = b; put(c, a - ${exps('d', teams)} * all); }`, 'writes')}`;

function rowKernel(rt: Runtime, name: string, code: RowCode): Kernel {
  const { facts } = rt;
  return {
    plan(inputs, _, outputs) {
      if (!allFloat(facts, inputs, outputs)) return null;
      const [a, b] = inputs as readonly View[];
      const { shape, dtype } = outputs[0];
      if (shape.length === 0) return null;
      const width = shape[shape.length - 1];
      const rows = rowsOf(outputs[0]);
      return ([y]) => {
        if (rows * width === 0) return;
        const teams = teamsFor(width, [a, b ?? null], facts);
        const launch = rt.kernel(`${name}:${inputs.map((x) => x?.dtype)}:${dtype}:${teamsKey(teams)}`, () => {
          const { globals, head } = rowsMain(teams, facts);
          const operands = b ? ['a', 'b'] : ['a'];
          const passes = rowPasses(
            teams,
            Object.fromEntries(operands.map((x) => [x, vectorAt(`from_${x}`, 'at + c', teams)])),
          );
          const arrays = operands.map((x, i) => [
            `from_${x}`,
            input(vectorArray((inputs[i] as View).dtype, teams, facts.half)),
          ]);
          const stored = vectorArray(dtype, teams, facts.half);
          return {
            buffers: { ...Object.fromEntries(arrays), y: output(stored) },
            scalars: { rows: 'u32', columns: 'u32' },
            enable: [...usesHalf([a, b ?? a, y], facts.half), ...usesSubgroups(facts)],
            code: withMath(`${globals}
${teamReduction('teamSum', 'add', 'f32', teams.team, facts)}
${teamReduction('teamMax', 'max', 'f32', teams.team, facts)}
var<private> at: u32;
fn put(c: u32, v: ${teams.type}) { y[at + c] = ${stored}(v); }
${head}
  let row = group * ${rowsAtOnce(teams)}u + lane / ${teams.team}u;
  let inside = row < p.rows;
  at = min(row, p.rows - 1u) * p.columns;
  ${passes.load}
  ${code(teams, passes)}
}`),
          };
        });
        const views: Record<string, View> = { from_a: a, ...(b ? { from_b: b } : {}), y };
        launch(views, { rows, columns: teams.columns }, Math.ceil(rows / rowsAtOnce(teams)));
      };
    },
  };
}

export const softmax = (rt: Runtime): Kernel => rowKernel(rt, 'softmax', SOFTMAX);
export const logSoftmax = (rt: Runtime): Kernel => rowKernel(rt, 'logSoftmax', LOG_SOFTMAX);
export const softmaxBackward = (rt: Runtime): Kernel => rowKernel(rt, 'softmaxBackward', SOFTMAX_BACKWARD);
export const logSoftmaxBackward = (rt: Runtime): Kernel => rowKernel(rt, 'logSoftmaxBackward', LOG_SOFTMAX_BACKWARD);

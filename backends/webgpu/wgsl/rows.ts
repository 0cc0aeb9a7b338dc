/**
 * WGSL for kernels over rows: a team of invocations works on each row, several teams in a workgroup. Rows that fit stay
 * in registers between the passes over them; longer ones are read again.
 */
import type { DType } from '../../../core/dtype.js';
import { sizeOf } from '../../../core/layout.js';
import type { AdapterFacts } from '../device.js';
import { arrayType, THREADS } from './access.js';

/** Vectors of a row that one invocation holds at most, unless said otherwise. */
const MOST_HELD = 8;

/** How rows are shared out. */
export interface Teams {
  /** Invocations to a row, a power of two. */
  readonly team: number;
  /** Vectors that an invocation holds; 0: too many to hold. */
  readonly held: number;
  /** Whether every invocation holds as many. */
  readonly even: boolean;
  /** Elements of a vector. */
  readonly lanes: 1 | 4;
  /** Vectors to a row. */
  readonly columns: number;
  /** The WGSL type of a vector in float32. */
  readonly type: 'f32' | 'vec4f';
}

/** A view as far as vectors care. */
interface Placed {
  readonly shape: readonly number[];
  readonly offset: number;
}

/** Teams for contiguous rows of `width` elements; `views` are all arrays that are read or written by vectors. */
export function teamsFor(
  width: number,
  views: readonly (Placed | null)[],
  facts: AdapterFacts,
  held = MOST_HELD,
): Teams {
  const wide = width % 4 === 0 && views.every((v) => v === null || v.offset % 4 === 0);
  const lanes = wide ? 4 : 1;
  const columns = width / lanes;
  // At least a subgroup, so that teams do not share one.
  let team = Math.min(THREADS, Math.max(32, facts.subgroups ? facts.subgroupMaxSize : 32));
  while (team < THREADS && columns > held * team) team *= 2;
  const count = Math.ceil(columns / team);
  const even = columns === count * team;
  return { team, held: count <= held ? count : 0, even, lanes, columns, type: wide ? 'vec4f' : 'f32' };
}

export const teamsKey = ({ team, held, even, lanes }: Teams): string => `${team}x${held}${even ? '' : '-'}x${lanes}`;

/** Rows that a workgroup has at a time. */
export const rowsAtOnce = ({ team }: Teams): number => THREADS / team;

/** Element type of an array of vectors, float16 stored as such. */
export function vectorArray(dtype: DType, { lanes }: Teams, half: boolean): string {
  const one = arrayType(dtype, half);
  return lanes === 4 ? `vec4<${one}>` : one;
}

/** Vector i of a view. */
export const vectorAt = (name: string, index: string, { lanes, type }: Teams): string =>
  `${type}(${name}[${lanes === 4 ? `(p.${name}At >> 2u)` : `p.${name}At`} + ${index}])`;

/** The sum of the elements of a vector. */
export const total = (vector: string, { lanes }: Teams): string =>
  lanes === 4 ? `dot(${vector}, vec4f(1.0f))` : vector;

/** The WGSL extension of the reductions below. */
export const usesSubgroups = (facts: AdapterFacts): string[] => (facts.subgroups ? ['subgroups'] : []);

/**
 * `fn <name>(x: T) -> T`: what the invocations of a team make together, in each of them; called in uniform control
 * flow by all. `how` is the sum or the larger of two values; `rowsMain` sets what it reads.
 */
export function teamReduction(
  name: string,
  how: 'add' | 'max',
  type: 'f32' | 'vec2f',
  team: number,
  facts: AdapterFacts,
): string {
  const both = (a: string, b: string) => (how === 'add' ? `${a} + ${b}` : `max(${a}, ${b})`);
  if (!facts.subgroups) {
    return `var<workgroup> ${name}_parts: array<${type}, ${THREADS}>;
fn ${name}(x: ${type}) -> ${type} {
  ${name}_parts[lane] = x;
  workgroupBarrier();
  for (var step = ${team / 2}u; step > 0u; step >>= 1u) {
    if (lane % ${team}u < step) { ${name}_parts[lane] = ${both(`${name}_parts[lane]`, `${name}_parts[lane + step]`)}; }
    workgroupBarrier();
  }
  let result = ${name}_parts[lane - lane % ${team}u];
  workgroupBarrier();
  return result;
}`;
  }
  const first = `subgroup${how === 'add' ? 'Add' : 'Max'}(x)`;
  if (facts.subgroupMinSize === team && facts.subgroupMaxSize === team) {
    return `fn ${name}(x: ${type}) -> ${type} { return ${first}; }`;
  }
  return `var<workgroup> ${name}_parts: array<${type}, ${THREADS}>;
fn ${name}(x: ${type}) -> ${type} {
  let own = ${first};
  if (subgroup_lane == 0u) { ${name}_parts[lane / subgroup_width] = own; }
  workgroupBarrier();
  let count = ${team}u / subgroup_width;
  let first = lane / ${team}u * count;
  var result = ${name}_parts[first];
  for (var i = 1u; i < count; i++) { result = ${both('result', `${name}_parts[first + i]`)}; }
  workgroupBarrier();
  return result;
}`;
}

/** The head of `main`: `group` is the workgroup's number, `lane` the invocation within it, `me` within its team. */
export function rowsMain({ team }: Teams, facts: AdapterFacts): { readonly globals: string; readonly head: string } {
  const subgroup = facts.subgroups
    ? ', @builtin(subgroup_invocation_id) subgroup_lane_: u32, @builtin(subgroup_size) subgroup_width_: u32'
    : '';
  return {
    globals: `var<private> lane: u32;
${facts.subgroups ? 'var<private> subgroup_lane: u32;\nvar<private> subgroup_width: u32;' : ''}`,
    head: `@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) lane_: u32${subgroup}) {
  lane = lane_;
  ${facts.subgroups ? 'subgroup_lane = subgroup_lane_;\n  subgroup_width = subgroup_width_;' : ''}
  let group = group_id.x + group_id.y * group_count.x;
  let me = lane % ${team}u;`,
  };
}

/**
 * Registers of a row, whose first vector is `at`. The row counts where `inside` holds; `at` must lie within the array
 * also where it does not.
 */
export interface RowPasses {
  /** Fills the registers: to be said before the first pass, and again for each row. */
  readonly load: string;
  /**
   * Statements for every vector of the row: `v` is its name (to be written too, in registers), `c` its column. Those that
   * only read may also run where `inside` does not hold.
   */
  pass(body: (v: string) => string, effect?: 'reads' | 'writes'): string;
}

/**
 * Passes over one or more arrays at a time: `loads` says by name how to read the vector of column `c`. `kept` are more
 * registers by vector, declared elsewhere as <name>0, <name>1, ...; they need rows that are held.
 */
export function rowPasses(
  teams: Teams,
  loads: Readonly<Record<string, string>>,
  kept: readonly string[] = [],
): RowPasses {
  const { team, held, even, type } = teams;
  const names = Object.keys(loads);
  const turns = Array.from({ length: held }, (_, k) => k);
  if (held === 0) {
    const read = names.map((name) => `var ${name} = ${loads[name]};`).join(' ');
    return {
      load: '',
      pass: (body) => `if (inside) { for (var c = me; c < p.columns; c += ${team}u) { ${read} ${body(names[0])} } }`,
    };
  }
  // Without a condition all loads of a row are under way at once.
  const when = (k: number, condition: string) =>
    even ? condition : `if (${condition ? 'inside && ' : ''}me + ${k * team}u < p.columns) `;
  return {
    load: turns
      .map((k) => {
        const declared = names.map((name) => `var ${name}${k} = ${type}();`).join(' ');
        const read = names.map((name) => `${name}${k} = ${loads[name]};`).join(' ');
        return `${declared} ${when(k, '')}{ let c = me + ${k * team}u; ${read} }`;
      })
      .join('\n  '),
    pass: (body, effect = 'reads') =>
      turns
        .map((k) => {
          // Within the block each array goes by its own name.
          const own = [...names, ...kept];
          const text = own.reduce((t, name) => t.replace(new RegExp(`\\b${name}\\b`, 'g'), name + k), body(names[0]));
          return `${when(k, effect === 'writes' ? 'if (inside) ' : '')}{ let c = me + ${k * team}u; ${text} }`;
        })
        .join('\n  '),
  };
}

/** Rows of the last axis. */
export const rowsOf = ({ shape }: Pick<Placed, 'shape'>): number => sizeOf(shape.slice(0, -1));

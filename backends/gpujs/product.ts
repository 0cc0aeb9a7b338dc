/** Sums of products along one axis, for matrix products of all kinds: strided, in batches, by fours where memory allows. */
import type { View } from '../../core/backend.js';
import { sizeOf } from '../../core/layout.js';
import { MOST_AXES } from './builtins.js';
import {
  ARRAY,
  type DeviceArray,
  INTEGER,
  NUMBER,
  type ParameterType,
  type Program,
  QUAD,
  script,
  shading,
} from './engine.js';
import { collapse, positionCall, positionNumbers, positionParameters } from './layouts.js';
import type { ScriptFunction } from './library.js';
import { type Machine, Programs, place } from './machine.js';

/** An operand: its strides along the axes of the result, and along the axis that is summed over. */
export interface Factor {
  readonly view: View;
  readonly strides: readonly number[];
  readonly step: number;
}

/** A second b, laid out as the first, for some of the results. */
export interface Other {
  readonly view: View;
  /** Of every `period` results the first `limit` are of the first b. */
  readonly period: number;
  readonly limit: number;
}

/** What is done to each sum before it is stored. */
export interface Ending {
  /** Tells it from other endings. */
  readonly key: string;
  /** With `finish(sum, position, ...)`. */
  readonly functions: readonly ScriptFunction[];
  readonly parameters: readonly (readonly [name: string, type: ParameterType])[];
  readonly values: readonly (DeviceArray | number)[];
  /** What `finish` is called with, for results of the first and of the second b. */
  readonly names: readonly [readonly string[], readonly string[]];
}

/** What sums products from positions i and j on; positions and steps count quads where an operand is read by fours. */
const OPERANDS = [
  ['a', ARRAY],
  ['b', ARRAY],
  ['i', INTEGER],
  ['j', INTEGER],
  ['count', INTEGER],
  ['aStep', INTEGER],
  ['bStep', INTEGER],
] as const;

/** A texture and a place in it, and that place moved on. */
const quad = (array: string, place: string) => `texelFetch(${array}, ${place}, 0)`;
const moved = (array: string, place: string, step: string) => `${place} = after(${place}, ${step}, ${array}Size.x);`;
const EACH = [0, 1, 2, 3];

/**
 * How the operands are read. By fours it is said in the shading language: places then move on by additions, where
 * gpu.js would divide for each element.
 */
const WAYS = {
  /** Number by number. */
  scalar: script(
    'product',
    OPERANDS,
    NUMBER,
    `let s = 0;
     for (let k = 0; k < count; k++) { s += read(a, i + k * aStep) * read(b, j + k * bStep); }
     return s;`,
  ),
  /** Four columns of b at once. */
  columns: shading(
    'product',
    OPERANDS,
    QUAD,
    `vec4 s = vec4(0.0);
     ivec2 to = spot(j, bSize), down = spot(bStep, bSize);
     for (int k = 0; k < count; k++) {
       int from = i + k * aStep;
       s += ${quad('a', 'spot(from >> 2, aSize)')}[from & 3] * ${quad('b', 'to')};
       ${moved('b', 'to', 'down')}
     }
     return s;`,
  ),
  /** Four columns of b, and four numbers of a row of a. */
  blocks: shading(
    'product',
    OPERANDS,
    QUAD,
    `vec4 s = vec4(0.0);
     ivec2 from = spot(i, aSize), to = spot(j, bSize), down = spot(bStep, bSize), next = ivec2(1, 0);
     for (int k = 0; k < count; k++) {
       vec4 x = ${quad('a', 'from')};
       ${EACH.map((r) => `s += x[${r}] * ${quad('b', 'to')}; ${moved('b', 'to', 'down')}`).join(' ')}
       ${moved('a', 'from', 'next')}
     }
     return s;`,
  ),
  /** Rows of both by fours, four rows of b at once; bStep is from row to row. */
  rows: shading(
    'product',
    OPERANDS,
    QUAD,
    `vec4 s = vec4(0.0);
     ivec2 from = spot(i, aSize), next = ivec2(1, 0);
     ivec2 ${EACH.map((r) => `row${r} = spot(j + ${r} * bStep, bSize)`).join(', ')};
     for (int k = 0; k < count; k++) {
       vec4 x = ${quad('a', 'from')};
       s += vec4(${EACH.map((r) => `dot(x, ${quad('b', `row${r}`)})`).join(', ')});
       ${moved('a', 'from', 'next')}
       ${EACH.map((r) => moved('b', `row${r}`, 'next')).join(' ')}
     }
     return s;`,
  ),
  /** Rows of both by fours, one sum. */
  dots: shading(
    'product',
    OPERANDS,
    NUMBER,
    `float s = 0.0;
     ivec2 from = spot(i, aSize), to = spot(j, bSize), next = ivec2(1, 0);
     for (int k = 0; k < count; k++) {
       s += dot(${quad('a', 'from')}, ${quad('b', 'to')});
       ${moved('a', 'from', 'next')}
       ${moved('b', 'to', 'next')}
     }
     return s;`,
  ),
} as const;

type Way = keyof typeof WAYS;

const byFours = (f: Factor, axes: readonly number[]) =>
  f.view.offset % 4 === 0 && axes.every((axis) => f.strides[axis] % 4 === 0);

/** The best way to read these operands. */
function wayFor(shape: readonly number[], inner: number, a: Factor, bs: readonly Factor[]): Way {
  const [b] = bs;
  const last = shape.length - 1;
  const lead = shape.map((_, i) => i).slice(0, -1);
  const rowsOfA = a.step === 1 && inner % 4 === 0 && byFours(a, lead);
  // Places move on, never back.
  if (b.step < 0) return 'scalar';
  if (shape[last] % 4 === 0 && b.strides[last] === 1 && b.step % 4 === 0 && bs.every((f) => byFours(f, lead))) {
    return rowsOfA ? 'blocks' : 'columns';
  }
  if (rowsOfA && b.step === 1 && bs.every((f) => byFours(f, [...lead, last]))) {
    return shape[last] % 4 === 0 ? 'rows' : 'dots';
  }
  return 'scalar';
}

const programs = new Programs();

function program(way: Way, rank: number, ending: Ending | null, hasOther: boolean): Program {
  const quads = WAYS[way].returnType === QUAD;
  const results = (b: 'b' | 'other'): string => {
    const first = positionCall('a', rank, 'this.thread.x');
    const second = positionCall('b', rank, 'this.thread.x').replace('bStart', `${b}Start`);
    const sum = `product(a, ${b}, ${first}, ${second}, count, aStep, bStep)`;
    if (!ending) return `return ${sum};`;
    const names = ending.names[b === 'b' ? 0 : 1].map((name) => `, ${name}`).join('');
    if (!quads) return `return finish(${sum}, this.thread.x${names});`;
    const lanes = [0, 1, 2, 3].map((c) => `finish(${b}Sums[${c}], 4 * this.thread.x + ${c}${names})`);
    return `const ${b}Sums = ${sum}; return [${lanes.join(', ')}];`;
  };
  const isFirst = 'this.thread.x - quotient(this.thread.x, period) * period < limit';
  return {
    quads,
    functions: [WAYS[way], ...(ending?.functions ?? [])],
    parameters: [
      ['a', 'array'],
      ['b', 'array'],
      ...positionParameters('a', rank),
      ...positionParameters('b', rank),
      ['count', 'integer'],
      ['aStep', 'integer'],
      ['bStep', 'integer'],
      ...(hasOther
        ? ([
            ['other', 'array'],
            ['otherStart', 'integer'],
            ['period', 'integer'],
            ['limit', 'integer'],
          ] as const)
        : []),
      ...(ending?.parameters ?? []),
    ],
    body: hasOther ? `if (${isFirst}) { ${results('b')} } ${results('other')}` : results('b'),
  };
}

/**
 * What computes, for every element of `shape` (none of them 0), the sum of `inner` products of a and b; along the last
 * axis of the shape a has stride 0. Null where an operand cannot be on the device.
 */
export function planProduct(
  machine: Machine,
  shape: readonly number[],
  inner: number,
  a: Factor,
  b: Factor,
  { ending = null, other = null }: { readonly ending?: Ending | null; readonly other?: Other | null } = {},
): (() => DeviceArray) | null {
  const { engine } = machine;
  const size = sizeOf(shape);
  if (size > engine.mostElements) return null;
  const arrays = place(machine, other ? [a.view, b.view, other.view] : [a.view, b.view]);
  if (arrays === null) return null;
  const way = engine.hasQuads ? wayFor(shape, inner, a, other ? [b, { ...b, view: other.view }] : [b]) : 'scalar';
  const last = shape.length - 1;
  const quadsOf = { a: way === 'blocks' || way === 'rows' || way === 'dots', b: way !== 'scalar' };
  const outByFours = WAYS[way].returnType === QUAD;
  const scaled = (f: Factor, quads: boolean) =>
    f.strides.map((stride, axis) => {
      // A step along the last axis is four elements where results come by fours.
      const step = outByFours && axis === last ? 4 * stride : stride;
      return quads ? step / 4 : step;
    });
  const results = outByFours ? shape.with(last, shape[last] / 4) : shape;
  const loop = collapse(results, [scaled(a, quadsOf.a), scaled(b, quadsOf.b)]);
  const rank = loop.shape.length;
  if (rank > MOST_AXES) return null;
  const start = (view: View, quads: boolean) => (quads ? view.offset / 4 : view.offset);
  const bStep = way === 'rows' ? b.strides[last] / 4 : quadsOf.b ? b.step / 4 : b.step;
  const made = programs.get(`${way} ${rank} ${ending?.key} ${other !== null}`, () =>
    program(way, rank, ending, other !== null),
  );
  const perResult = outByFours ? 4 : 1;
  const values = [
    arrays[0],
    arrays[1],
    ...positionNumbers(loop, 0, start(a.view, quadsOf.a)),
    ...positionNumbers(loop, 1, start(b.view, quadsOf.b)),
    quadsOf.a ? inner / 4 : inner,
    a.step,
    way === 'dots' ? 0 : bStep,
    ...(other ? [arrays[2], start(other.view, quadsOf.b), other.period / perResult, other.limit / perResult] : []),
    ...(ending?.values ?? []),
  ];
  return () => engine.run(made, values, size);
}

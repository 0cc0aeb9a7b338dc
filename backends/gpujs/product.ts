/** Sums of products along one axis, for matrix products of all kinds: strided, in batches, by fours where memory allows. */
import type { View } from '../../core/backend.js';
import { sizeOf } from '../../core/layout.js';
import { MOST_AXES } from './builtins.js';
import { ARRAY, type DeviceArray, INTEGER, NUMBER, type ParameterType, type Program, QUAD, script } from './engine.js';
import { collapse, positionCall, positionNumbers, positionParameters } from './layouts.js';
import type { ScriptFunction } from './library.js';
import { type Machine, Programs, place } from './machine.js';

/** An operand: its strides along the axes of the result, and along the axis that is summed over. */
export interface Factor {
  readonly view: View;
  readonly strides: readonly number[];
  readonly step: number;
}

/** What is done to each sum before it is stored. */
export interface Ending {
  /** Tells it from other endings. */
  readonly key: string;
  /** `finish(sum, position, ...parameters)`. */
  readonly functions: readonly ScriptFunction[];
  readonly parameters: readonly (readonly [name: string, type: ParameterType])[];
  readonly values: readonly (DeviceArray | number)[];
}

const OPERANDS = [
  ['a', ARRAY],
  ['b', ARRAY],
  ['i', INTEGER],
  ['j', INTEGER],
  ['count', INTEGER],
  ['aStep', INTEGER],
  ['bStep', INTEGER],
] as const;

/** s += x w for four columns. */
const addScaled = (x: string, w: string) => [0, 1, 2, 3].map((c) => `s${c} += ${x} * ${w}[${c}];`).join(' ');
const ZEROS = 'let s0 = 0; let s1 = 0; let s2 = 0; let s3 = 0;';
const dotted = (x: string, w: string) => [0, 1, 2, 3].map((c) => `${x}[${c}] * ${w}[${c}]`).join(' + ');

/** How the operands are read; `i`, `j` and the steps count quads where an operand is read by fours. */
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
  columns: script(
    'product',
    OPERANDS,
    QUAD,
    `${ZEROS}
     for (let k = 0; k < count; k++) { const x = read(a, i + k * aStep); const w = b[j + k * bStep]; ${addScaled('x', 'w')} }
     return [s0, s1, s2, s3];`,
  ),
  /** Four columns of b, and four numbers of a row of a. */
  blocks: script(
    'product',
    OPERANDS,
    QUAD,
    `${ZEROS}
     for (let k = 0; k < count; k++) {
       const x = a[i + k];
       ${[0, 1, 2, 3].map((r) => `const w${r} = b[j + (4 * k + ${r}) * bStep];`).join(' ')}
       ${[0, 1, 2, 3].map((r) => addScaled(`x[${r}]`, `w${r}`)).join(' ')}
     }
     return [s0, s1, s2, s3];`,
  ),
  /** Rows of both by fours, four rows of b at once; bStep is from row to row. */
  rows: script(
    'product',
    OPERANDS,
    QUAD,
    `${ZEROS}
     for (let k = 0; k < count; k++) {
       const x = a[i + k];
       ${[0, 1, 2, 3].map((r) => `const w${r} = b[j + ${r} * bStep + k];`).join(' ')}
       ${[0, 1, 2, 3].map((r) => `s${r} += ${dotted('x', `w${r}`)};`).join(' ')}
     }
     return [s0, s1, s2, s3];`,
  ),
  /** Rows of both by fours, one sum. */
  dots: script(
    'product',
    OPERANDS,
    NUMBER,
    `let s = 0;
     for (let k = 0; k < count; k++) { const x = a[i + k]; const w = b[j + k]; s += ${dotted('x', 'w')}; }
     return s;`,
  ),
} as const;

type Way = keyof typeof WAYS;

const byFours = (f: Factor, axes: readonly number[]) =>
  f.view.offset % 4 === 0 && axes.every((axis) => f.strides[axis] % 4 === 0);

/** The best way to read these operands. */
function wayFor(shape: readonly number[], inner: number, a: Factor, b: Factor): Way {
  const last = shape.length - 1;
  const lead = shape.map((_, i) => i).slice(0, -1);
  const rowsOfA = a.step === 1 && inner % 4 === 0 && byFours(a, lead);
  if (shape[last] % 4 === 0 && b.strides[last] === 1 && b.step % 4 === 0 && byFours(b, lead)) {
    return rowsOfA ? 'blocks' : 'columns';
  }
  if (rowsOfA && b.step === 1 && byFours(b, [...lead, last])) return shape[last] % 4 === 0 ? 'rows' : 'dots';
  return 'scalar';
}

const programs = new Programs();

function program(way: Way, rank: number, ending: Ending | null): Program {
  const quads = WAYS[way].returnType === QUAD;
  const extra = ending ? ending.parameters.map(([name]) => `, ${name}`).join('') : '';
  const sum = `product(a, b, ${positionCall('a', rank, 'this.thread.x')}, ${positionCall('b', rank, 'this.thread.x')}, count, aStep, bStep)`;
  let body = `return ${sum};`;
  if (ending && !quads) body = `return finish(${sum}, this.thread.x${extra});`;
  if (ending && quads) {
    const lanes = [0, 1, 2, 3].map((c) => `finish(p[${c}], 4 * this.thread.x + ${c}${extra})`);
    body = `const p = ${sum}; return [${lanes.join(', ')}];`;
  }
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
      ...(ending?.parameters ?? []),
    ],
    body,
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
  ending: Ending | null = null,
): (() => DeviceArray) | null {
  const { engine } = machine;
  const size = sizeOf(shape);
  if (size > engine.mostElements) return null;
  const arrays = place(machine, [a.view, b.view]);
  if (arrays === null) return null;
  const way = engine.hasQuads ? wayFor(shape, inner, a, b) : 'scalar';
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
  const start = (f: Factor, quads: boolean) => (quads ? f.view.offset / 4 : f.view.offset);
  const bStep = way === 'rows' ? b.strides[last] / 4 : quadsOf.b ? b.step / 4 : b.step;
  const made = programs.get(`${way} ${rank} ${ending?.key}`, () => program(way, rank, ending));
  const values = [
    ...arrays,
    ...positionNumbers(loop, 0, start(a, quadsOf.a)),
    ...positionNumbers(loop, 1, start(b, quadsOf.b)),
    quadsOf.a ? inner / 4 : inner,
    a.step,
    way === 'dots' ? 0 : bStep,
    ...(ending?.values ?? []),
  ];
  return () => engine.run(made, values, size);
}

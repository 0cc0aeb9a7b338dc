/** How tiles of A and B come from memory: blocks of 4 x 4 elements, turned in registers where the depth is contiguous. */
import type { View } from '../../../core/backend.js';
import { type Binding, input } from '../program.js';
import type { Config } from './config.js';
import { floatOf } from './finish.js';
import type { Factor, Product } from './product.js';

/** How an operand lies in memory. */
export interface Side {
  readonly type: 'f32' | 'f16';
  /** Which index has stride 1. */
  readonly inner: 'depth' | 'outer' | 'none';
  /** Whether four elements can be loaded at once. */
  readonly wide: boolean;
}

export interface Sides {
  readonly a: Side;
  readonly b: Side;
  /** Number of batch axes. */
  readonly rank: number;
  readonly split: 'rows' | 'depth' | null;
}

function sideOf(factor: Factor, outer: number, depth: number, divided: boolean, others: readonly View[]): Side {
  const { view, batch } = factor;
  const byDepth = (factor.step === 1 || depth === 1) && !divided;
  const inner = byDepth ? 'depth' : factor.outer === 1 || outer === 1 ? 'outer' : 'none';
  const [lead, length] = inner === 'depth' ? [factor.outer, depth] : [factor.step, outer];
  const single = inner === 'depth' ? outer === 1 : depth === 1;
  const wide =
    inner !== 'none' &&
    length % 4 === 0 &&
    [single ? 0 : lead, view.offset, ...batch, ...others.map((v) => v.offset)].every((n) => n % 4 === 0);
  return { type: floatOf(view), inner, wide };
}

export function sidesOf({ a, b, rows, columns, depth, batch, split, second }: Product): Sides {
  const divided = split?.along === 'depth';
  return {
    a: sideOf(a, rows, depth, divided, []),
    b: sideOf(b, columns, depth, divided, second ? [second] : []),
    rank: batch.length,
    split: split?.along ?? null,
  };
}

const sideKey = ({ type, inner, wide }: Side): string => `${type}${inner[0]}${wide ? 'w' : ''}`;
export const sidesKey = ({ a, b, rank, split }: Sides): string => `${sideKey(a)},${sideKey(b)},${rank},${split}`;

export function sideBuffers({ a, b, split }: Sides): Record<string, Binding> {
  const typed = ({ type, wide }: Side) => input(wide ? `vec4<${type}>` : type);
  return { a: typed(a), b: typed(b), ...(split === 'rows' && { second: typed(b) }) };
}

/** WGSL for the blocks that each invocation moves from memory to workgroup memory. */
export interface Loads {
  /** Declares what stays the same: needs `rows`, `columns`, `row0`, `column0`, `way`, `i_a` and `i_b`. */
  readonly prepare: string;
  /** Loads blocks of the tile at depth `at` into registers; needs `depthEnd`. */
  fetch(at: string): string;
  /** Puts the registers into the tiles that begin at `stage`. */
  readonly store: string;
}

/** Vectors between the slices of a tile: one more than needed, against bank conflicts. */
export const pitchOf = (block: number): number => block / 4 + 1;
/** Vectors of a tile of A and one of B. */
export const stageSize = ({ blockM, blockN, blockK }: Config): number => blockK * (pitchOf(blockM) + pitchOf(blockN));

interface Part {
  readonly name: 'a' | 'b';
  readonly side: Side;
  /** The invocations that take part, of all. */
  readonly from: number;
  readonly to: number;
  /** The block of invocation 0, which may be negative. */
  readonly shift: number;
}

const FOUR = [0, 1, 2, 3] as const;

/** `whole`: nothing lies behind the end of the depth. */
export function loads(config: Config, threads: number, sides: Sides, whole: boolean): Loads {
  const { blockM, blockN, blockK } = config;
  const blocksA = (blockM * blockK) / 16;
  const blocks = blocksA + (blockN * blockK) / 16;
  const turns = Math.ceil(blocks / threads);
  const partsOf = (turn: number): Part[] => {
    const [first, last] = [turn * threads, (turn + 1) * threads];
    const part = (name: 'a' | 'b', low: number, high: number): Part => ({
      name,
      side: sides[name],
      from: Math.max(first, low) - first,
      to: Math.min(last, high) - first,
      shift: first - low,
    });
    return [part('a', 0, blocksA), part('b', blocksA, blocks)].filter(({ from, to }) => to > from);
  };
  const lines = (turn: number, code: (part: Part) => string): string =>
    partsOf(turn)
      .map((part) => {
        const tests = [part.from > 0 ? `t >= ${part.from}u` : '', part.to < threads ? `t < ${part.to}u` : ''];
        const test = tests.filter((s) => s !== '').join(' && ');
        return test === '' ? code(part) : `if (${test}) {\n${code(part)}\n}`;
      })
      .join('\n');
  const every = (code: (turn: number) => string): string => Array.from({ length: turns }, (_, i) => code(i)).join('\n');

  const prepare = every((j) => {
    const names = FOUR.map((i) => `var o${j}_${i} = 0u; var r${j}_${i} = vec4f();`);
    return `${names.join(' ')} var k${j} = 0u; var s${j} = 0u;\n${lines(j, (part) => prepareBlock(part, j, config, sides))}`;
  });
  return {
    prepare,
    fetch: (at) => every((j) => lines(j, (part) => fetchBlock(part, j, at, sides, whole))),
    store: every((j) => lines(j, (part) => storeBlock(part, j, config))),
  };
}

/** Where the block lies: `o` offsets of its rows (or of its columns), `k` its depth in the tile, `s` its place there. */
function prepareBlock({ name, side, shift }: Part, j: number, config: Config, { split }: Sides): string {
  const { blockM, blockN, blockK } = config;
  const [block, base, size] = name === 'a' ? [blockM, 'row0', 'rows'] : [blockN, 'column0', 'columns'];
  const along = side.inner === 'outer' ? block / 4 : blockK / 4;
  const id = shift === 0 ? 't' : shift > 0 ? `(t + ${shift}u)` : `(t - ${-shift}u)`;
  const [quad, other] = [`(${id} % ${along}u)`, `(${id} / ${along}u)`];
  const [o, k] = side.inner === 'outer' ? [quad, other] : [other, quad];
  const tileAt = name === 'a' ? '' : ` + ${blockK * pitchOf(blockM)}u`;
  const lines = [`k${j} = 4u * ${k}; s${j} = k${j} * ${pitchOf(block)}u + ${o}${tileAt};`];
  const start = name === 'b' && split === 'rows' ? 'select(p.bAt, p.secondAt, way == 1u)' : `i_${name}`;
  if (side.inner === 'outer' && side.wide) {
    lines.push(`o${j}_0 = ${start} + min(${base} + 4u * ${o}, ${size} - 4u);`);
  } else {
    const place = (i: number) => `min(${base} + 4u * ${o} + ${i}u, ${size} - 1u)`;
    const row = (i: number) => (name === 'a' && split === 'rows' ? `placed(way, ${place(i)})` : place(i));
    const stride = side.inner === 'outer' ? '' : ` * p.${name}Outer`;
    for (const i of FOUR) lines.push(`o${j}_${i} = ${start} + ${row(i)}${stride};`);
  }
  return lines.join('\n');
}

function fetchBlock({ name, side }: Part, j: number, at: string, sides: Sides, whole: boolean): string {
  const { split } = sides;
  const { inner, wide } = side;
  const twoSources = name === 'b' && split === 'rows';
  const from = (source: string): string => {
    if (inner === 'outer') {
      return FOUR.map((i) => {
        const row = split === 'depth' ? `placed(way, k + ${i}u)` : `(k + ${i}u)`;
        const load = wide
          ? `r${j}_${i} = vec4f(${source}[(o${j}_0 + d) >> 2u]);`
          : `r${j}_${i} = vec4f(${FOUR.map((c) => `f32(${source}[o${j}_${c} + d])`).join(', ')});`;
        const code = `let d = ${row} * p.${name}Step; ${load}`;
        return whole ? `{ ${code} }` : `if (k + ${i}u < depthEnd) { ${code} } else { r${j}_${i} = vec4f(); }`;
      }).join('\n');
    }
    if (wide) {
      const all = FOUR.map((i) => `r${j}_${i} = vec4f(${source}[(o${j}_${i} + k) >> 2u]);`).join('\n');
      const none = FOUR.map((i) => `r${j}_${i} = vec4f();`).join(' ');
      return whole ? all : `if (k < depthEnd) {\n${all}\n} else { ${none} }`;
    }
    const step = inner === 'none' ? ` * p.${name}Step` : '';
    return FOUR.map((i) => {
      const element = (c: number) => {
        const value = `f32(${source}[o${j}_${i} + (k + ${c}u)${step}])`;
        return whole ? value : `select(0.0f, ${value}, k + ${c}u < depthEnd)`;
      };
      return `r${j}_${i} = vec4f(${FOUR.map(element).join(', ')});`;
    }).join('\n');
  };
  const body = twoSources ? `if (way == 0u) {\n${from('b')}\n} else {\n${from('second')}\n}` : from(name);
  return `{ let k = ${at} + k${j};\n${body}\n}`;
}

function storeBlock({ name, side }: Part, j: number, { blockM, blockN }: Config): string {
  const pitch = pitchOf(name === 'a' ? blockM : blockN);
  return FOUR.map((c) => {
    const value = side.inner === 'outer' ? `r${j}_${c}` : `vec4f(${FOUR.map((i) => `r${j}_${i}[${c}]`).join(', ')})`;
    return `tiles[stage + s${j} + ${c * pitch}u] = ${value};`;
  }).join('\n');
}

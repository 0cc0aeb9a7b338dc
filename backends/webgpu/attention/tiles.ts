/**
 * The parts of which attention kernels are made. A workgroup has `rows` rows (queries, or keys) in workgroup memory and
 * goes over tiles of 32 columns (keys, or queries). Invocation (tx, ty) makes rows 4 ty to 4 ty + 3 of a product with
 * columns 4 tx to 4 tx + 3 as four vectors s0 to s3, and of a sum over the columns the vectors tx, tx + 8, ... of each row.
 */
import type { View } from '../../../core/backend.js';
import type { DType } from '../../../core/dtype.js';
import { arrayType } from '../wgsl/access.js';

/** Columns of a tile, vectors of four in one, and invocations side by side. */
export const TILE = 32;
const ACROSS = TILE / 4;
const FOUR = [0, 1, 2, 3] as const;
/** Vectors' letters. */
export const PART = 'xyzw';

/** log2(e) and its inverse: scores are kept as powers of 2. */
export const LOG2E = `${Math.fround(Math.LOG2E)}f`;
export const LN2 = `${Math.fround(Math.LN2)}f`;

export interface Tiles {
  readonly rows: number;
  readonly threads: number;
  /** Elements of a head, and vectors of four that hold them. */
  readonly width: number;
  readonly columns: number;
  /** Vectors that a row takes in workgroup memory. */
  readonly stored: number;
  /** Vectors of a row that one invocation sums up. */
  readonly each: number;
}

/**
 * The largest tiles of which `held` sets of rows fit into workgroup memory beside one set of columns, or null. Few rows
 * get small tiles.
 */
export function tilesFor(width: number, count: number, held: number, most: number, memory: number): Tiles | null {
  const columns = Math.ceil(width / 4);
  const stored = 8 * Math.ceil(columns / 8);
  for (let rows = most; rows >= 8; rows /= 2) {
    const bytes = 16 * (held * rows * stored + TILE * stored + rows * ACROSS + 2 * rows);
    if (bytes > memory || (rows >= 32 && count <= rows / 2)) continue;
    return { rows, threads: 2 * rows, width, columns, stored, each: Math.ceil(columns / ACROSS) };
  }
  return null;
}

export const tilesKey = ({ rows, width }: Tiles): string => `${rows}x${width}`;

/** Whether heads can be read four elements at a time. */
export const isWide = (views: readonly View[]): boolean =>
  views.every(
    ({ shape, strides, offset }) =>
      shape[3] % 4 === 0 && strides[3] === 1 && [offset, strides[0], strides[1], strides[2]].every((n) => n % 4 === 0),
  );

/** An operand [B, L, H, d] in the code. */
export interface Heads {
  readonly name: string;
  readonly dtype: DType;
}

/** The array type of an operand or result. */
export function headArray(dtype: DType, wide: boolean, half: boolean): string {
  const one = arrayType(dtype, half);
  return wide ? `vec4<${one}>` : one;
}

/** The scalars that `loadRows` reads. */
export const headFields = (name: string, wide: boolean): Record<string, 'u32'> =>
  Object.fromEntries(['Batch', 'Row', 'Head', ...(wide ? [] : ['Step'])].map((s) => [name + s, 'u32']));

export function headScalars(name: string, { strides }: View, wide: boolean): Record<string, number> {
  const [batch, row, head, step] = wide ? strides.map((s) => s / 4) : strides;
  return { [`${name}Batch`]: batch, [`${name}Row`]: row, [`${name}Head`]: head, [`${name}Step`]: step };
}

/** Vector `c` of row `row` of head (b, h), zeros behind its end. */
export function headVector(name: string, row: string, c: string, wide: boolean, { width }: Tiles): string {
  const base = `b * p.${name}Batch + h * p.${name}Head + (${row}) * p.${name}Row`;
  if (wide) return `vec4f(${name}[(p.${name}At >> 2u) + ${base} + ${c}])`;
  const parts = FOUR.map((k) => {
    const value = `f32(${name}[p.${name}At + ${base} + (4u * ${c} + ${k}u) * p.${name}Step])`;
    return width % 4 > k || width % 4 === 0 ? value : `select(0.0f, ${value}, 4u * ${c} + ${k}u < ${width}u)`;
  });
  return `vec4f(${parts.join(', ')})`;
}

/** Statements that write vector `c` of row `row` of `rows` of a contiguous result. */
export function storeVector(
  name: string,
  type: string,
  row: string,
  rows: string,
  c: string,
  value: string,
  wide: boolean,
  { width, columns }: Tiles,
): string {
  const element = `((b * ${rows} + ${row}) * heads + h)`;
  if (wide) return `${name}[${element} * ${columns}u + ${c}] = ${type}(${value});`;
  const stores = FOUR.map(
    (k) =>
      `if (4u * ${c} + ${k}u < ${width}u) { ${name}[${element} * ${width}u + 4u * ${c} + ${k}u] = ${type}(out.${PART[k]}); }`,
  );
  return `{ let out = ${value}; ${stores.join(' ')} }`;
}

/** Workgroup memory: sets of rows by name, the columns Y, the product T, and M for sums along rows. */
export const memoryCode = ({ rows, stored }: Tiles, names: readonly string[]): string =>
  [
    ...names.map((name) => `var<workgroup> ${name}: array<vec4f, ${rows * stored}>;`),
    `var<workgroup> Y: array<vec4f, ${TILE * stored}>;`,
    `var<workgroup> T: array<vec4f, ${rows * ACROSS}>;`,
    `var<workgroup> M: array<vec4f, ${2 * rows}>;`,
  ].join('\n');

/** The head of `main`; `first` is the workgroup's first row. */
export const mainHead = ({ rows, threads }: Tiles): string => `@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let b = group.z;
  let h = group.y;
  let heads = groups.y;
  let first = group.x * ${rows}u;
  let tx = lane % ${ACROSS}u;
  let ty = lane / ${ACROSS}u;`;

/**
 * Where vector c of row r lies in a set: neighbours in a workgroup read the same c of rows four apart, which the
 * exclusive or puts into different banks.
 */
export const place = (r: string, c: string, stored: number): string =>
  `(${r}) * ${stored}u + ((${c}) ^ (((${r}) >> 2u) & 7u))`;

/** Statements that fill a set with `count` rows from `start` of an operand, zeros from row `end` on. */
export function loadRows(
  set: string,
  from: string,
  start: string,
  end: string,
  tiles: Tiles,
  wide: boolean,
  factor = '',
): string {
  const { threads, columns, stored } = tiles;
  const count = set === 'Y' ? TILE : tiles.rows;
  return `for (var n = lane; n < ${count * columns}u; n += ${threads}u) {
    let r = n / ${columns}u;
    let c = n % ${columns}u;
    var loaded = vec4f();
    if (${start} + r < ${end}) { loaded = ${headVector(from, `${start} + r`, 'c', wide, tiles)}; }
    ${set}[${place('r', 'c', stored)}] = loaded${factor && ` * ${factor}`};
  }`;
}

/** Statements that declare <out>0 to <out>3: the products of the invocation's rows of a set with its columns of Y. */
export function product(out: string, set: string, { columns, stored }: Tiles): string {
  const steps = FOUR.map((i) => {
    const sum = FOUR.reduce((s, k) => `fma(vec4f(a.${PART[k]}), y${PART[k]}, ${s})`, `${out}${i}`);
    return `{ let a = ${set}[(4u * ty + ${i}u) * ${stored}u + (c ^ (ty & 7u))]; ${out}${i} = ${sum}; }`;
  });
  return `${FOUR.map((i) => `var ${out}${i} = vec4f();`).join(' ')}
  for (var c = 0u; c < ${columns}u; c++) {
    ${FOUR.map((j) => `let y${j} = Y[(4u * tx + ${j}u) * ${stored}u + (c ^ tx)];`).join('\n    ')}
    ${[...PART].map((k) => `let y${k} = vec4f(y0.${k}, y1.${k}, y2.${k}, y3.${k});`).join('\n    ')}
    ${steps.join('\n    ')}
  }`;
}

/** A statement that writes <from>0 to <from>3 to T. */
export const storeProduct = (from: string): string =>
  FOUR.map((i) => `T[(4u * ty + ${i}u) * ${ACROSS}u + (tx ^ (ty & 7u))] = ${from}${i};`).join('\n  ');

/** The registers of a sum. */
export const sumNames = (out: string, { each }: Tiles): string[][] =>
  FOUR.map((i) => Array.from({ length: each }, (_, e) => `${out}${i}_${e}`));

export const declareSum = (out: string, tiles: Tiles): string =>
  sumNames(out, tiles)
    .flat()
    .map((name) => `var ${name} = vec4f();`)
    .join(' ');

/** Statements that add T Y to a sum; columns from `end` on are left out. */
export function addProduct(out: string, end: string, tiles: Tiles): string {
  const { stored, each } = tiles;
  const names = sumNames(out, tiles);
  const steps = FOUR.map((k) => {
    const reads = Array.from(
      { length: each },
      (_, e) => `let y${e} = Y[(4u * j + ${k}u) * ${stored}u + ((tx + ${ACROSS * e}u) ^ j)];`,
    );
    const adds = FOUR.flatMap((i) =>
      names[i].map((name, e) => `${name} = fma(vec4f(t${i}.${PART[k]}), y${e}, ${name});`),
    );
    return `{ ${reads.join(' ')} ${adds.join(' ')} }`;
  });
  return `for (var j = 0u; j < min(${ACROSS}u, (${end} - start + 3u) >> 2u); j++) {
    ${FOUR.map((i) => `let t${i} = T[(4u * ty + ${i}u) * ${ACROSS}u + (j ^ (ty & 7u))];`).join('\n    ')}
    ${steps.join('\n    ')}
  }`;
}

/** Statements that store a sum, each row times `factor(i)`, into rows first + ... of the `end` rows of a result. */
export function storeSum(
  out: string,
  name: string,
  type: string,
  end: string,
  factor: (row: number) => string,
  wide: boolean,
  tiles: Tiles,
): string {
  return sumNames(out, tiles)
    .flatMap((row, i) =>
      row.map((value, e) => {
        const c = `(tx + ${ACROSS * e}u)`;
        const store = storeVector(
          name,
          type,
          `(first + 4u * ty + ${i}u)`,
          end,
          c,
          `${value} * ${factor(i)}`,
          wide,
          tiles,
        );
        return `if (first + 4u * ty + ${i}u < ${end} && ${c} < ${tiles.columns}u) { ${store} }`;
      }),
    )
    .join('\n  ');
}

/**
 * Statements that declare <out>0 to <out>3, the sum (or the largest) of `value(i)` over the invocations of each row.
 * M must be free before; it is read until the next barrier.
 */
export function alongRows(out: string, value: (i: number) => string, how: 'sum' | 'max'): string {
  const join = (i: number) => {
    const [a, c] = [`M[8u * ty + ${2 * i}u]`, `M[8u * ty + ${2 * i + 1}u]`];
    if (how === 'sum') return `let ${out}${i} = dot(${a} + ${c}, vec4f(1.0f));`;
    return `let ${out}_${i} = max(${a}, ${c}); let ${out}${i} = max(max(${out}_${i}.x, ${out}_${i}.y), max(${out}_${i}.z, ${out}_${i}.w));`;
  };
  return `${FOUR.map((i) => `M[8u * ty + ${2 * i}u + (tx >> 2u)][tx & 3u] = ${value(i)};`).join('\n  ')}
  workgroupBarrier();
  ${FOUR.map(join).join('\n  ')}`;
}

/** 2^x for vectors; what is below the range is 0, and NaN stays. */
export const POWERS = `fn powers(x: vec4f) -> vec4f {
  let nan = (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
  return select(select(exp2(x), vec4f(), x < vec4f(-126.0f)), x, nan);
}`;

/** For each of the four rows or columns. */
export const four = (text: (i: number) => string, separator = '\n  '): string => FOUR.map(text).join(separator);

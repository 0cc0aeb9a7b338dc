/** Starts the kernels of a product. */
import type { Launch, Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import type { Way } from './choose.js';
import { type Finish, finishOf, finishViews } from './finish.js';
import { sidesOf } from './load.js';
import { matrixDefinition, matrixKey } from './matrix.js';
import { layers, type Product, parts } from './product.js';
import { reduce } from './reduce.js';
import { groupColumns, thinDefinition, thinKey } from './thin.js';
import { tileDefinition, tileKey } from './tile.js';

/** All that follows from the sizes and layouts of a product and the way to make it. */
export interface Plan {
  readonly launch: Launch;
  readonly finish: Finish;
  /** Tiles from top to bottom and from left to right. */
  readonly down: number;
  readonly across: number;
  readonly layers: number;
  readonly slices: number;
  /** The depth of a slice. */
  readonly chunk: number;
}

export function plan(rt: Runtime, product: Product, way: Way): Plan {
  const { rows, columns, depth, split } = product;
  if (way.kind === 'thin') {
    const { rows, columns } = way;
    const kernel = { rows, columns, sides: sidesOf(product), finish: { ...finishOf(product), wide: false } };
    const launch = rt.kernel(thinKey(kernel), () => thinDefinition(kernel));
    const across = Math.ceil(product.columns / groupColumns(columns));
    return { launch, finish: kernel.finish, down: 1, across, layers: layers(product), slices: 1, chunk: depth };
  }
  const { blockM, blockN, blockK } = way.config;
  const { slices } = way;
  const chunk = Math.ceil(depth / slices / blockK) * blockK;
  const even = slices > 1 ? chunk * slices === depth : depth % blockK === 0;
  const whole = even && depth > 0 && split?.along !== 'depth';
  const finish = finishOf(product);
  const common = { sides: sidesOf(product), finish, whole, partial: slices > 1 };
  let launch: Launch;
  if (way.kind === 'matrix') {
    const kernel = { ...common, config: way.config, unit: way.unit, lanes: rt.facts.subgroupMinSize };
    launch = rt.kernel(matrixKey(kernel), () => matrixDefinition(kernel));
  } else {
    const kernel = { ...common, config: way.config };
    launch = rt.kernel(tileKey(kernel), () => tileDefinition(kernel));
  }
  const heights = split?.along === 'rows' ? parts(split, rows) : [rows];
  const down = heights.reduce((n, r) => n + Math.ceil(r / blockM), 0);
  return { launch, finish, down, across: Math.ceil(columns / blockN), layers: layers(product), slices, chunk };
}

/** Starts a product for which a plan was made; only its memory and its strides may be others. */
export function start(rt: Runtime, product: Product, plan: Plan): void {
  const { launch, finish, down, across, slices, chunk } = plan;
  const { rows, columns, depth, split, a, b, second, batch } = product;
  const groups = down * across * plan.layers * slices;
  const scalars: Record<string, number> = {
    ...{ rows, columns, depth, down, across, groups, layers: plan.layers, chunk },
    ...{ aOuter: a.outer, aStep: a.step, bOuter: b.outer, bStep: b.step },
    ...{ before: split?.before ?? 0, all: split?.all ?? 0 },
  };
  batch.forEach((size, i) => {
    scalars[`d${i}`] = size;
    scalars[`a_s${i}`] = a.batch[i];
    scalars[`b_s${i}`] = b.batch[i];
  });
  const inputs = { a: a.view, b: b.view, ...(second && { second }) };
  if (slices === 1) {
    launch({ ...inputs, ...finishViews(finish, product) }, scalars, groups);
    return;
  }
  const sizes = [slices * plan.layers * rows * columns, ...(product.sums ? [slices * plan.layers * rows] : [])];
  const wanted = sizes.map((n) => ({ dtype: 'float32' as const, shape: [n] }));
  withScratch(rt, wanted, (scratch, scratchSums) => {
    launch({ ...inputs, scratch, ...(scratchSums && { scratchSums }) }, scalars, groups);
    reduce(rt, product, slices, scratch, scratchSums ?? null);
  });
}

/** Computes a product in a given way. */
export const run = (rt: Runtime, product: Product, way: Way): void => start(rt, product, plan(rt, product, way));

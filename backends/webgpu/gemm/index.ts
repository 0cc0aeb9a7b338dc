/** Matrix products on the GPU: chooses a kernel for a product and starts it. */
import type { View } from '../../../core/backend.js';
import type { Runtime } from '../runtime.js';
import { chosen, type Way } from './choose.js';
import { finishOf, finishViews } from './finish.js';
import { sidesOf } from './load.js';
import { layers, type Product, parts } from './product.js';
import { reduce } from './reduce.js';
import { tileDefinition, tileKey } from './tile.js';

/** Computes a product; rows, columns and layers may be 0. */
export function multiply(rt: Runtime, product: Product): void {
  if (product.rows * product.columns * layers(product) === 0) return;
  run(rt, product, chosen(rt, product));
}

/** Computes a product in a given way. */
export function run(rt: Runtime, product: Product, { config, slices }: Way): void {
  const { rows, columns, depth, split } = product;
  const { blockM, blockN, blockK } = config;
  const partial = slices > 1;
  const chunk = Math.ceil(depth / slices / blockK) * blockK;
  const whole = depth > 0 && split?.along !== 'depth' && depth % (partial ? chunk : blockK) === 0;
  const kernel = { config, sides: sidesOf(product), finish: finishOf(product), whole, partial };
  const launch = rt.kernel(tileKey(kernel), () => tileDefinition(kernel));
  const z = layers(product);
  const tiles = split?.along === 'rows' ? parts(split, rows) : [rows];
  const down = tiles.reduce((n, r) => n + Math.ceil(r / blockM), 0);
  const across = Math.ceil(columns / blockN);
  const groups = down * across * z * slices;
  const { a, b, second, batch } = product;
  const scalars: Record<string, number> = { rows, columns, depth, down, across, groups, layers: z, chunk };
  Object.assign(scalars, { before: split?.before ?? 0, all: split?.all ?? 0 });
  Object.assign(scalars, { aOuter: a.outer, aStep: a.step, bOuter: b.outer, bStep: b.step });
  batch.forEach((size, i) => {
    scalars[`d${i}`] = size;
    scalars[`a_s${i}`] = a.batch[i];
    scalars[`b_s${i}`] = b.batch[i];
  });
  const inputs = { a: a.view, b: b.view, ...(second && { second }) };
  if (!partial) {
    launch({ ...inputs, ...finishViews(kernel.finish, product) }, scalars, groups);
    return;
  }
  const scratch = scratchView(rt, slices * z * rows * columns);
  const scratchSums = product.sums ? scratchView(rt, slices * z * rows) : null;
  launch({ ...inputs, scratch, ...(scratchSums && { scratchSums }) }, scalars, groups);
  reduce(rt, product, slices, scratch, scratchSums);
  for (const view of [scratch, scratchSums]) if (view) rt.memory.free(view.block as never);
}

/** Temporary memory; the queue's order makes it safe to give back as soon as its kernels have been started. */
function scratchView(rt: Runtime, elements: number): View {
  const block = rt.memory.alloc(4 * elements, false);
  return { block, dtype: 'float32', shape: [elements], strides: [1], offset: 0 };
}

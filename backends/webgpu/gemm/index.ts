/** Matrix products on the GPU: chooses a kernel for a product and starts it. */
import type { View } from '../../../core/backend.js';
import type { GpuBlock } from '../memory.js';
import type { Runtime } from '../runtime.js';
import { type Way, waysFor } from './choose.js';
import { finishOf, finishViews } from './finish.js';
import { sidesOf } from './load.js';
import { matrixDefinition, matrixKey } from './matrix.js';
import { layers, type Product, parts } from './product.js';
import { reduce } from './reduce.js';
import { tileDefinition, tileKey } from './tile.js';

/** Computes a product; rows, columns, layers and the depth may be 0. */
export function multiply(rt: Runtime, product: Product): void {
  if (product.rows * product.columns * layers(product) === 0) return;
  run(rt, product, waysFor(rt, product)[0]);
}

/** The kernel of a product, ready to be started. */
function kernelOf(rt: Runtime, product: Product, way: Way, whole: boolean) {
  const common = { sides: sidesOf(product), finish: finishOf(product), whole, partial: way.slices > 1 };
  if (way.kind === 'matrix') {
    const kernel = { ...common, config: way.config, unit: way.unit, lanes: rt.facts.subgroupMinSize };
    return rt.kernel(matrixKey(kernel), () => matrixDefinition(kernel));
  }
  const kernel = { ...common, config: way.config };
  return rt.kernel(tileKey(kernel), () => tileDefinition(kernel));
}

/** Computes a product in a given way. */
export function run(rt: Runtime, product: Product, way: Way): void {
  const { rows, columns, depth, split, a, b, second, batch } = product;
  const { blockM, blockN, blockK } = way.config;
  const { slices } = way;
  const chunk = Math.ceil(depth / slices / blockK) * blockK;
  const even = depth > 0 && depth % (slices > 1 ? chunk : blockK) === 0;
  const launch = kernelOf(rt, product, way, even && slices * chunk === depth && split?.along !== 'depth');
  const z = layers(product);
  const down = (split?.along === 'rows' ? parts(split, rows) : [rows]).reduce((n, r) => n + Math.ceil(r / blockM), 0);
  const across = Math.ceil(columns / blockN);
  const groups = down * across * z * slices;
  const scalars: Record<string, number> = { rows, columns, depth, down, across, groups, layers: z, chunk };
  Object.assign(scalars, { before: split?.before ?? 0, all: split?.all ?? 0 });
  Object.assign(scalars, { aOuter: a.outer, aStep: a.step, bOuter: b.outer, bStep: b.step });
  batch.forEach((size, i) => {
    scalars[`d${i}`] = size;
    scalars[`a_s${i}`] = a.batch[i];
    scalars[`b_s${i}`] = b.batch[i];
  });
  const inputs = { a: a.view, b: b.view, ...(second && { second }) };
  if (slices === 1) {
    launch({ ...inputs, ...finishViews(finishOf(product), product) }, scalars, groups);
    return;
  }
  const scratch = temporary(rt, slices * z * rows * columns);
  const scratchSums = product.sums ? temporary(rt, slices * z * rows) : null;
  launch({ ...inputs, scratch, ...(scratchSums && { scratchSums }) }, scalars, groups);
  reduce(rt, product, slices, scratch, scratchSums);
  for (const view of [scratch, scratchSums]) if (view) rt.memory.free(view.block as GpuBlock);
}

/** Scratch memory; the queue's order makes it safe to give it back as soon as its kernels have been started. */
function temporary(rt: Runtime, elements: number): View {
  const block = rt.memory.alloc(4 * elements, false);
  return { block, dtype: 'float32', shape: [elements], strides: [1], offset: 0 };
}

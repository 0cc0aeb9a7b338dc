/** Which kernel makes a product: estimated by rule, unless the tuner has measured it. */
import type { Runtime } from '../runtime.js';
import { CONFIGS, type Config, threadsOf } from './config.js';
import { stageSize } from './load.js';
import { layers, type Product, parts } from './product.js';

/** A tile size, and the number of slices into which the depth is cut. */
export interface Way {
  readonly config: Config;
  readonly slices: number;
}

/** Multiprocessors of a large GPU: WebGPU does not tell. */
const PROCESSORS = 128;
/** Multiplications that take as long as moving one number of scratch memory to and fro. */
const SCRATCH_COST = 60;
const MOST_SLICES = 64;

/** Tile sizes that the device can run. */
export function runnable(rt: Runtime): readonly Config[] {
  const { maxComputeWorkgroupStorageSize: memory, maxComputeInvocationsPerWorkgroup: invocations } = rt.device.limits;
  return CONFIGS.filter((c) => 16 * c.stages * stageSize(c) <= memory && threadsOf(c) <= invocations);
}

/** Numbers of slices worth trying for a product of `groups` tiles. */
function slicings(groups: number, depth: number, blockK: number): number[] {
  const most = Math.min(MOST_SLICES, Math.floor(depth / (8 * blockK)));
  const fill = Math.ceil((2 * PROCESSORS) / groups);
  return [...new Set([1, fill >> 1, fill])].filter((s) => s === 1 || (s > 1 && s <= most));
}

/** Ways to make a product, the one with the least estimated time first. */
export function waysFor(rt: Runtime, product: Product): Way[] {
  const { rows, columns, depth, split } = product;
  const z = layers(product);
  const down = split?.along === 'rows' ? parts(split, rows) : [rows];
  const steps = split?.along === 'depth' ? Math.max(...parts(split, depth)) : depth;
  const ways: { way: Way; cost: number }[] = [];
  for (const config of runnable(rt)) {
    const { blockM, blockN, blockK, rate } = config;
    const tiles = down.reduce((n, r) => n + Math.ceil(r / blockM), 0) * Math.ceil(columns / blockN) * z;
    for (const slices of slicings(tiles, steps, blockK)) {
      const rounds = Math.ceil((tiles * slices) / PROCESSORS);
      const work = blockM * blockN * Math.ceil(steps / slices / blockK) * blockK;
      const scratch = slices > 1 ? (z * rows * columns * slices * SCRATCH_COST) / PROCESSORS : 0;
      ways.push({ way: { config, slices }, cost: (rounds * work) / rate + scratch });
    }
  }
  return ways.sort((a, b) => a.cost - b.cost).map(({ way }) => way);
}

export function chosen(rt: Runtime, product: Product): Way {
  return waysFor(rt, product)[0];
}

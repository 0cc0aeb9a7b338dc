/** Which kernel makes a product: the one with the least estimated time. */
import type { AdapterFacts, MatrixConfig } from '../device.js';
import type { Runtime } from '../runtime.js';
import {
  CONFIGS,
  type Config,
  configName,
  MATRIX_TILES,
  type MatrixTile,
  matrixTileName,
  threadsOf,
} from './config.js';
import { sidesOf, stageSize } from './load.js';
import { matrixMemory, suitsMatrix } from './matrix.js';
import { layers, type Product, parts } from './product.js';
import { groupColumns, thinTiles } from './thin.js';

/** Tile sizes, and the number of slices into which the depth is cut. */
export type Way =
  | { readonly kind: 'thin'; readonly rows: number; readonly columns: number; readonly slices: 1 }
  | { readonly kind: 'tile'; readonly config: Config; readonly slices: number }
  | { readonly kind: 'matrix'; readonly config: MatrixTile; readonly unit: MatrixConfig; readonly slices: number };

export function wayName(way: Way): string {
  if (way.kind === 'thin') return `thin${way.columns}*1`;
  return `${way.kind === 'tile' ? configName(way.config) : matrixTileName(way.config)}*${way.slices}`;
}

/** Multiprocessors of a large GPU: WebGPU does not tell. */
const PROCESSORS = 128;
/** Multiplications that take as long as moving one number of scratch memory to and fro, and as starting another kernel. */
const SCRATCH_COST = 60;
const LAUNCH_COST = 300_000;
const MOST_SLICES = 64;
/** How much faster matrix units are than the rest. */
const MATRIX_RATE = 6;

/** Tile sizes that the device can run. */
export function runnable(rt: Runtime): readonly Config[] {
  const { maxComputeWorkgroupStorageSize: memory, maxComputeInvocationsPerWorkgroup: invocations } = rt.device.limits;
  return CONFIGS.filter((c) => 16 * c.stages * stageSize(c) <= memory && threadsOf(c) <= invocations);
}

/** The matrix unit for half floats with float32 sums that does most at once. */
export function matrixUnit({ half, matrices, subgroupMinSize, subgroupMaxSize }: AdapterFacts): MatrixConfig | null {
  // Subgroups of one size only: the code must know how many a workgroup has.
  if (!half || subgroupMinSize !== subgroupMaxSize) return null;
  const size = ({ M, N, K }: MatrixConfig) => M * N * K;
  const suits = ({ M, N, K, componentType, resultComponentType }: MatrixConfig) =>
    componentType === 'f16' && resultComponentType === 'f32' && [M, N, K].every((n) => n === 8 || n === 16);
  return matrices.filter(suits).sort((x, y) => size(y) - size(x))[0] ?? null;
}

/** Tile sizes for matrix units that the device can run. */
export function runnableMatrix(rt: Runtime, unit: MatrixConfig): readonly MatrixTile[] {
  const { maxComputeWorkgroupStorageSize: memory, maxComputeInvocationsPerWorkgroup: most } = rt.device.limits;
  return MATRIX_TILES.filter((tile) => {
    const { blockM, blockN, blockK, warpsM, warpsN } = tile;
    const threads = rt.facts.subgroupMinSize * warpsM * warpsN;
    const moves = [blockM, blockN].every(
      (block) => (block * blockK) % (4 * threads) === 0 && threads % (block / 4) === 0,
    );
    return moves && threads >= blockM && threads <= most && matrixMemory(tile, unit) <= memory;
  });
}

/** Numbers of slices worth trying for a product of `groups` tiles. */
function slicings(groups: number, depth: number, blockK: number): number[] {
  const most = Math.max(1, Math.min(MOST_SLICES, Math.floor(depth / (8 * blockK))));
  const fill = Math.ceil((2 * PROCESSORS) / groups);
  return [...new Set([1, fill >> 2, fill >> 1, fill].map((s) => Math.max(1, Math.min(s, most))))];
}

/** Ways to make a product, the one with the least estimated time first. */
export function waysFor(rt: Runtime, product: Product): Way[] {
  const { rows, columns, depth, split } = product;
  const z = layers(product);
  const down = split?.along === 'rows' ? parts(split, rows) : [rows];
  const steps = split?.along === 'depth' ? Math.max(...parts(split, depth)) : depth;
  const ways: { way: Way; cost: number }[] = [];
  const consider = ({ blockM, blockN, blockK, rate }: Config | MatrixTile, make: (slices: number) => Way) => {
    const tiles = down.reduce((n, r) => n + Math.ceil(r / blockM), 0) * Math.ceil(columns / blockN) * z;
    for (const slices of slicings(tiles, steps, blockK)) {
      const rounds = Math.ceil((tiles * slices) / PROCESSORS);
      const work = blockM * blockN * Math.ceil(steps / slices / blockK) * blockK;
      const scratch = slices > 1 ? LAUNCH_COST + (z * rows * columns * slices * SCRATCH_COST) / PROCESSORS : 0;
      ways.push({ way: make(slices), cost: (rounds * work) / rate + scratch });
    }
  };
  for (const config of runnable(rt)) consider(config, (slices) => ({ kind: 'tile', config, slices }));
  const unit = matrixUnit(rt.facts);
  if (unit && suitsMatrix(sidesOf(product))) {
    for (const config of runnableMatrix(rt, unit)) {
      const faster = { ...config, rate: MATRIX_RATE * config.rate };
      consider(faster, (slices) => ({ kind: 'matrix', config, unit, slices }));
    }
  }
  const sorted = ways.sort((a, b) => a.cost - b.cost).map(({ way }) => way);
  // The most columns at once that leave every processor something to do, else the fewest.
  const fills = (tile: { readonly columns: number }) =>
    z * Math.ceil(columns / groupColumns(tile.columns)) >= PROCESSORS;
  const thin = thinTiles(product, sidesOf(product));
  const ordered = [...thin.filter(fills), ...thin.filter((tile) => !fills(tile)).reverse()];
  const few = ordered.map((tile): Way => ({ kind: 'thin', ...tile, slices: 1 }));
  return [...few, ...sorted];
}

/** The way of a name, for this product; null for a name of none that this device runs. */
export function namedWay(rt: Runtime, product: Product, name: string): Way | null {
  const [tile, count] = name.split('*');
  const wanted = Number(count);
  if (!Number.isInteger(wanted) || wanted < 1) return null;
  const slicesFor = (blockK: number) => Math.max(1, Math.min(wanted, MOST_SLICES, Math.floor(product.depth / blockK)));
  const few = thinTiles(product, sidesOf(product)).find(({ columns }) => tile === `thin${columns}`);
  if (few) return { kind: 'thin', ...few, slices: 1 };
  const config = runnable(rt).find((c) => configName(c) === tile);
  if (config) return { kind: 'tile', config, slices: slicesFor(config.blockK) };
  const unit = matrixUnit(rt.facts);
  if (!unit || !suitsMatrix(sidesOf(product))) return null;
  const matrix = runnableMatrix(rt, unit).find((c) => matrixTileName(c) === tile);
  return matrix ? { kind: 'matrix', config: matrix, unit, slices: slicesFor(matrix.blockK) } : null;
}

/** Products on the GPU: every tile size and layout against the plain loop, and the ops that are made of them. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { openDevice } from '../../backends/webgpu/device.js';
import { namedWay, runnable, type Way, wayName, waysFor } from '../../backends/webgpu/gemm/choose.js';
import type { Factor, Product } from '../../backends/webgpu/gemm/product.js';
import { run } from '../../backends/webgpu/gemm/run.js';
import type { GpuBlock } from '../../backends/webgpu/memory.js';
import { Runtime } from '../../backends/webgpu/runtime.js';
import type { View } from '../../core/backend.js';
import { messageOf } from '../../core/errors.js';
import { erf } from '../../core/expr.js';
import { sizeOf } from '../../core/layout.js';
import { Generator } from '../../core/random.js';
import { ADAPTER } from '../support/gpu.js';

async function runtimeOrReason(): Promise<Runtime | string> {
  try {
    const stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
    return new Runtime(await openDevice({ adapter: ADAPTER }), stats);
  } catch (error) {
    return `no WebGPU here: ${messageOf(error)}`;
  }
}

const found = await runtimeOrReason();
const skip = typeof found === 'string' ? found : false;
const rt = found as Runtime;
after(() => (skip ? undefined : rt.dispose()));

const phi = (x: number): number => 0.5 * (1 + erf(x * Math.SQRT1_2));
const slopeOf = (x: number): number => phi(x) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);

const blocks: GpuBlock[] = [];

/** A view of memory that holds `values`, beginning at element `offset`. */
function upload(values: Float32Array, offset: number): View {
  const all = new Float32Array(offset + values.length).fill(Number.NaN);
  all.set(values, offset);
  const block = rt.memory.alloc(all.byteLength, false);
  rt.write(block, 0, new Uint8Array(all.buffer));
  blocks.push(block);
  return { block, dtype: 'float32', shape: [values.length], strides: [1], offset };
}

async function download(view: View): Promise<Float32Array> {
  const bytes = await rt.read(view.block as GpuBlock, 0, 4 * sizeOf(view.shape));
  return new Float32Array(bytes.slice().buffer);
}

const free = (): void => {
  for (const block of blocks.splice(0)) rt.memory.free(block);
};

type Inner = 'depth' | 'outer' | 'none';

/** An operand of `outer` x `depth` elements, `inner` contiguous, `gap` elements more between its lines. */
function factor(
  values: Float32Array,
  [batch, outer, depth]: number[],
  inner: Inner,
  gap: number,
  offset: number,
): Factor {
  const [a, b] = inner === 'outer' ? [1, outer + gap] : [depth + gap, 1];
  const spread = inner === 'none' ? 2 : 1;
  const layer = spread * (inner === 'outer' ? depth * b : outer * a);
  const stored = new Float32Array(batch * layer);
  for (let z = 0; z < batch; z++)
    for (let i = 0; i < outer; i++)
      for (let k = 0; k < depth; k++)
        stored[z * layer + spread * (i * a + k * b)] = values[(z * outer + i) * depth + k];
  return { view: upload(stored, offset), outer: spread * a, step: spread * b, batch: batch > 1 ? [layer] : [] };
}

interface Case {
  readonly sizes: readonly [number, number, number];
  readonly batch?: number;
  readonly a?: Inner;
  readonly b?: Inner;
  readonly gap?: number;
  readonly offset?: number;
  readonly finish?: boolean;
  readonly sums?: boolean;
}

/** Runs a case in a way and compares with sums in float64. */
async function check(way: Way, given: Case, seed: number): Promise<void> {
  const { batch = 1, a = 'depth', b = 'outer', gap = 0, offset = 0, finish = false, sums = false } = given;
  const [rows, columns, depth] = given.sizes;
  const generator = new Generator(seed);
  const values = (n: number) => Float32Array.from(generator.uniform(n), (u) => 2 * u - 1);
  const [left, right] = [values(batch * rows * depth), values(batch * columns * depth)];
  const [bias, residual] = [values(columns), values(batch * rows * columns)];
  const empty = (n: number) => upload(new Float32Array(n).fill(7), 0);
  const y = empty(batch * rows * columns);
  const product: Product = {
    ...{ rows, columns, depth, batch: batch > 1 ? [batch] : [], y },
    a: factor(left, [batch, rows, depth], a, gap, offset),
    b: factor(right, [batch, columns, depth], b, gap, offset),
    ...(finish && {
      bias: upload(bias, offset),
      residual: upload(residual, offset),
      gelu: true,
      slope: empty(batch * rows * columns),
    }),
    ...(sums && { sums: empty(rows) }),
  };
  const before = rt.stats.launches;
  run(rt, product, way);
  assert.equal(rt.stats.launches - before, way.slices > 1 ? 2 : 1, 'launches');
  const got = await download(y);
  const slope = product.slope ? await download(product.slope) : null;
  const what = `${wayName(way)} ${JSON.stringify(given)}`;
  const bound = 2e-6 * Math.sqrt(depth + 1) + 2e-6;
  for (let i = 0; i < got.length; i++) {
    const [z, m, n] = [Math.floor(i / (rows * columns)), Math.floor(i / columns) % rows, i % columns];
    let sum = finish ? bias[n] : 0;
    for (let k = 0; k < depth; k++) sum += left[(z * rows + m) * depth + k] * right[(z * columns + n) * depth + k];
    const wanted = finish ? sum * phi(sum) + residual[i] : sum;
    assert.ok(Math.abs(got[i] - wanted) <= bound * (1 + Math.abs(wanted)), `${what}: ${got[i]} at ${i}, not ${wanted}`);
    if (slope) assert.ok(Math.abs(slope[i] - slopeOf(sum)) <= bound * 3, `${what}: slope ${slope[i]} at ${i}`);
  }
  if (product.sums) {
    (await download(product.sums)).forEach((value, m) => {
      const wanted = left.subarray(m * depth, (m + 1) * depth).reduce((x, v) => x + v, 0);
      assert.ok(Math.abs(value - wanted) <= bound * 2, `${what}: sum ${value} of row ${m}, not ${wanted}`);
    });
  }
  free();
}

/** Layouts in which both operands are loaded in every manner, and sizes that meet no tile. */
const CASES: readonly Case[] = [
  { sizes: [132, 136, 72], a: 'depth', b: 'depth', finish: true, offset: 4 },
  { sizes: [132, 136, 64], a: 'depth', b: 'outer' },
  { sizes: [68, 132, 50], a: 'outer', b: 'outer', sums: true },
  { sizes: [67, 131, 45], a: 'outer', b: 'depth', finish: true, gap: 3, offset: 1, sums: true },
  { sizes: [37, 33, 29], a: 'none', b: 'none', batch: 2 },
  { sizes: [40, 36, 16], a: 'depth', b: 'outer', batch: 3, gap: 4, finish: true },
];

describe('tiled products', { skip }, () => {
  it('are right for every tile size', async () => {
    for (const [i, config] of runnable(rt).entries()) {
      // A third of the cases each: the code of the loads does not depend on the other sizes.
      for (const [k, given] of CASES.entries())
        if ((i + k) % 3 === 0) await check({ kind: 'tile', config, slices: 1 }, given, 10 * i + k);
    }
  });

  it('are right when the depth is cut into slices', async () => {
    const config = runnable(rt)[runnable(rt).length - 4];
    for (const [i, given] of CASES.entries()) {
      for (const slices of [2, 5]) await check({ kind: 'tile', config, slices }, given, 100 + i);
    }
  });

  it('are right at the edges of sizes', async () => {
    const config = runnable(rt)[runnable(rt).length - 1];
    const sizes = [
      [1, 1, 1],
      [1, 70, 3],
      [70, 1, 4],
      [3, 5, 0],
      [4, 4, 0],
      [1, 4, 1],
    ] as const;
    for (const [i, size] of sizes.entries()) {
      for (const layout of ['depth', 'outer', 'none'] as const)
        await check({ kind: 'tile', config, slices: 1 }, { sizes: size, a: layout, b: layout, finish: i % 2 === 0 }, i);
    }
  });

  it('are right with few rows', async () => {
    for (const rows of [1, 2, 3, 7, 16]) {
      const kernelRows = 2 ** Math.ceil(Math.log2(rows));
      const way: Way = {
        kind: 'thin',
        rows: kernelRows,
        columns: Math.min(rows === 1 ? 2 : 4, 16 / kernelRows),
        slices: 1,
      };
      const given: Case = { sizes: [rows, 45, 300], a: 'depth', b: 'depth', offset: 4 };
      await check(way, { ...given, finish: rows !== 2 }, rows);
      await check(way, { ...given, sizes: [rows, 33, 4], batch: 2 }, rows);
    }
  });

  it('name their ways, and take a name of none for none', () => {
    const [rows, columns, depth] = [300, 200, 640];
    const view: View = { block: { bytes: 0 }, dtype: 'float32', shape: [], strides: [], offset: 0 };
    const operand = { view, outer: depth, step: 1, batch: [] };
    const product: Product = { rows, columns, depth, batch: [], a: operand, b: operand, y: view };
    const ways = waysFor(rt, product);
    assert.ok(ways.length >= 8);
    for (const way of ways) assert.deepEqual(namedWay(rt, product, wayName(way)), way);
    assert.ok(ways.some((way) => way.slices > 1));
    for (const name of [
      '',
      'thin*1',
      'thin4*1',
      '9x9x9/1x1/1*1',
      '64x64x16/4x4/2',
      '64x64x16/4x4/2*-1',
      '64x64x16/4x4/2*x',
    ])
      assert.equal(namedWay(rt, product, name), null, name);
    // More slices than the depth has steps are too many.
    assert.equal(namedWay(rt, { ...product, depth: 40 }, '64x64x16/4x4/2*60')?.slices, 2);
  });
});

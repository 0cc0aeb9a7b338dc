/** Choices between kernels of products: measured, kept in a file, read again; and matrix units, played by plain code. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type AdapterFacts, openDevice } from '../../backends/webgpu/device.js';
import { wayName } from '../../backends/webgpu/gemm/choose.js';
import { MATRIX_TILES } from '../../backends/webgpu/gemm/config.js';
import type { Finish } from '../../backends/webgpu/gemm/finish.js';
import { multiply } from '../../backends/webgpu/gemm/index.js';
import type { Side } from '../../backends/webgpu/gemm/load.js';
import { matrixDefinition } from '../../backends/webgpu/gemm/matrix.js';
import type { Product } from '../../backends/webgpu/gemm/product.js';
import { fileName, formatChoices, parseChoices, readChoices, writeChoices } from '../../backends/webgpu/gemm/store.js';
import { chosenWay, classOf, loadTuning, tune } from '../../backends/webgpu/gemm/tuner.js';
import type { GpuBlock } from '../../backends/webgpu/memory.js';
import type { Definition } from '../../backends/webgpu/program.js';
import { Runtime } from '../../backends/webgpu/runtime.js';
import type { View } from '../../core/backend.js';
import { messageOf } from '../../core/errors.js';
import { contiguousStrides, sizeOf } from '../../core/layout.js';
import { Generator } from '../../core/random.js';
import { ADAPTER } from '../support/gpu.js';

const runtimes: Runtime[] = [];

async function freshRuntime(): Promise<Runtime> {
  const stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  const rt = new Runtime(await openDevice({ adapter: ADAPTER }), stats);
  runtimes.push(rt);
  return rt;
}

const found = await freshRuntime().catch((error: unknown) => `no WebGPU here: ${messageOf(error)}`);
const skip = typeof found === 'string' ? found : false;
const rt = found as Runtime;

const before = process.env.AZULEJO_CACHE;
const folder = await mkdtemp(join(tmpdir(), 'azulejo-tuner-'));
process.env.AZULEJO_CACHE = folder;
after(async () => {
  if (before === undefined) delete process.env.AZULEJO_CACHE;
  else process.env.AZULEJO_CACHE = before;
  await rm(folder, { recursive: true });
  for (const runtime of runtimes) await runtime.dispose();
});

function memory(runtime: Runtime, shape: readonly number[], values?: Float32Array): View {
  const block = runtime.memory.alloc(4 * sizeOf(shape), false);
  if (values) runtime.write(block, 0, new Uint8Array(values.buffer));
  return { block, dtype: 'float32', shape, strides: contiguousStrides(shape), offset: 0 };
}

function example(runtime: Runtime): Product {
  const [rows, columns, depth] = [40, 24, 32];
  const operand = (n: number) => ({ view: memory(runtime, [n, depth]), outer: depth, step: 1, batch: [] });
  return {
    rows,
    columns,
    depth,
    batch: [],
    a: operand(rows),
    b: operand(columns),
    y: memory(runtime, [rows, columns]),
  };
}

it('texts of choices are read again, and what is none is left out', () => {
  const choices = new Map([
    ['b', '32x32x32/4x4/1*1'],
    ['a', 'thin4*1'],
  ]);
  assert.deepEqual(parseChoices(formatChoices(choices)), choices);
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '7',
    '{"version":1}',
    '{"version":1,"ways":3}',
    '{"version":0,"ways":{"a":"b"}}',
  ])
    assert.equal(parseChoices(text).size, 0, text);
  const mixed = JSON.stringify({
    version: 1,
    ways: { good: 'thin4*1', bad: 3, [`${'x'.repeat(300)}`]: 'y', long: 'z'.repeat(300) },
  });
  assert.deepEqual(parseChoices(mixed), new Map([['good', 'thin4*1']]));
  assert.equal(parseChoices(mixed + ' '.repeat(2 ** 21)).size, 0);
});

it('choices are written into folders that are not there yet, and nowhere else', async () => {
  const facts = { vendor: 'Some Vendor', architecture: '../x', description: 'GPU (1)' } as AdapterFacts;
  assert.equal(fileName(facts), 'webgpu-some-vendor-x-gpu-1-.json');
  const choices = new Map([['a', 'thin4*1']]);
  try {
    process.env.AZULEJO_CACHE = join(folder, 'not', 'yet');
    await writeChoices(facts, choices);
    assert.deepEqual(await readChoices(facts), choices);
    assert.deepEqual(await readdir(process.env.AZULEJO_CACHE), [fileName(facts)], 'no temporary file is left');
    process.env.AZULEJO_CACHE = '/proc/not/there';
    await assert.rejects(writeChoices(facts, choices));
    assert.equal((await readChoices(facts)).size, 0);
  } finally {
    process.env.AZULEJO_CACHE = folder;
    await rm(join(folder, 'not'), { recursive: true, force: true });
  }
});

describe('the tuner', { skip }, () => {
  it('measures once, keeps the fastest in a file, and a later run uses it', async () => {
    const product = example(rt);
    multiply(rt, product);
    assert.equal(await tune(rt), 0, 'on a GPU in software only when asked');
    const lines: string[] = [];
    assert.equal(await tune(rt, { software: true, log: (line) => lines.push(line) }), 1);
    assert.equal(await tune(rt, { software: true }), 0);
    assert.ok(lines.length > 4, 'several ways were measured');
    assert.deepEqual(await readdir(folder), [fileName(rt.facts)]);
    const kept = await readChoices(rt.facts);
    assert.deepEqual([...kept.keys()], [classOf(product)]);
    assert.equal(wayName(chosenWay(rt, product)), kept.get(classOf(product)));
    multiply(rt, product);
    await rt.sync();

    // Another choice than any rule would make.
    await writeFile(join(folder, fileName(rt.facts)), formatChoices(new Map([[classOf(product), '64x64x8/4x4/1*2']])));
    const later = await freshRuntime();
    assert.notEqual(wayName(chosenWay(later, product)), '64x64x8/4x4/1*2');
    await loadTuning(later);
    assert.equal(wayName(chosenWay(later, product)), '64x64x8/4x4/1*2');
  });

  it('takes a broken file for none, and writes it anew', async () => {
    const file = join(folder, fileName(rt.facts));
    for (const text of [
      '{"version":1,"ways":{',
      JSON.stringify({ version: 1, ways: { [classOf(example(rt))]: 'rm -rf*1' } }),
    ]) {
      await writeFile(file, text);
      const later = await freshRuntime();
      await loadTuning(later);
      const product = example(later);
      multiply(later, product);
      await later.sync();
    }
    await writeFile(file, 'broken');
    const later = await freshRuntime();
    await loadTuning(later);
    multiply(later, example(later));
    assert.equal(await tune(later, { software: true }), 1);
    assert.equal(parseChoices(await readFile(file, 'utf8')).size, 1);
  });
});

/**
 * The code of a kernel for matrix units with those units played by plain code on float32: every invocation of a subgroup
 * holds whole matrices. Proves which elements meet where, not how they are rounded.
 */
function played({ code, ...rest }: Definition, lanes: number, [M, N, K]: readonly number[]): Definition {
  const load = (name: string, rows: number, columns: number) => `
fn ${name}_row_major(w: ptr<workgroup, array<f32, SIZE>>, at: u32, line: u32) -> array<f32, ${rows * columns}> {
  var m: array<f32, ${rows * columns}>;
  for (var i = 0u; i < ${rows * columns}u; i++) { m[i] = w[at + i / ${columns}u * line + i % ${columns}u]; }
  return m;
}
fn ${name}_col_major(w: ptr<workgroup, array<f32, SIZE>>, at: u32, line: u32) -> array<f32, ${rows * columns}> {
  var m: array<f32, ${rows * columns}>;
  for (var i = 0u; i < ${rows * columns}u; i++) { m[i] = w[at + i % ${columns}u * line + i / ${columns}u]; }
  return m;
}`;
  const sizeOfArray = (name: string) =>
    new RegExp(`var<workgroup> ${name}: array<f\\d\\d, (\\d+)>`).exec(code)?.[1] ?? '0';
  const helpers = `${load('left', M, K).replaceAll('SIZE', sizeOfArray('tile_a'))}
${load('right', K, N).replaceAll('SIZE', sizeOfArray('tile_b'))}
fn multiplied(l: array<f32, ${M * K}>, r: array<f32, ${K * N}>, c: array<f32, ${M * N}>) -> array<f32, ${M * N}> {
  var m = c;
  var left = l;
  var right = r;
  for (var i = 0u; i < ${M * N}u; i++) {
    for (var k = 0u; k < ${K}u; k++) { m[i] += left[i / ${N}u * ${K}u + k] * right[k * ${N}u + i % ${N}u]; }
  }
  return m;
}
fn stored(at: u32, c: array<f32, ${M * N}>, line: u32) {
  var m = c;
  for (var i = 0u; i < ${M * N}u; i++) { results[at + i / ${N}u * line + i % ${N}u] = m[i]; }
}
`;
  const text = code
    .replaceAll(/subgroupMatrixLoad<subgroup_matrix_(left|right)<f16, \d+, \d+>, (row_major|col_major)>/g, '$1_$2')
    .replaceAll('subgroupMatrixMultiplyAccumulate', 'multiplied')
    .replaceAll('subgroupMatrixStore<row_major>(&results, ', 'stored(')
    .replaceAll(/subgroup_matrix_result<f32, \d+, \d+>\(\)/g, `array<f32, ${M * N}>()`)
    .replace(
      ', @builtin(subgroup_id) warp: u32, @builtin(subgroup_invocation_id) lane: u32) {',
      `) {\n  let warp = t / ${lanes}u; let lane = t % ${lanes}u;`,
    )
    .replaceAll('vec4h', 'vec4f')
    .replaceAll('f16', 'f32');
  return { ...rest, enable: [], code: helpers + text };
}

describe('products on matrix units', { skip }, () => {
  const lanes = 32;
  const finish: Finish = {
    ...{ y: 'f32', bias: null, residual: null, gelu: false, slope: false, split: null, sums: true, wide: true },
  };

  const cases = [
    { a: 'depth', b: 'depth', unit: { M: 8, N: 8, K: 8 } },
    { a: 'depth', b: 'outer', unit: { M: 16, N: 8, K: 8 } },
    { a: 'outer', b: 'outer', unit: { M: 8, N: 8, K: 16 } },
  ] as const;
  for (const { a, b, unit } of cases) {
    it(`find their elements: A along ${a}, B along ${b}, units of ${unit.M} x ${unit.N} x ${unit.K}`, async () => {
      const config = MATRIX_TILES.find((tile) => tile.blockM === 32 && tile.blockN === 64) ?? MATRIX_TILES[0];
      const [rows, columns, depth] = [36, 68, 44];
      const side = (inner: Side['inner']): Side => ({ type: 'f16', inner, wide: true });
      const sides = { a: side(a), b: side(b), rank: 0, split: null };
      const types = { componentType: 'f16', resultComponentType: 'f32' };
      const kernel = { config, unit: { ...unit, ...types }, lanes, sides, finish, whole: false, partial: false };
      const real = matrixDefinition(kernel);
      const launch = rt.kernel(`played:${a}:${b}:${unit.N}`, () => {
        const buffers = Object.entries(real.buffers).map(([name, binding]) => [
          name,
          { ...binding, type: binding.type.replace('f16', 'f32') },
        ]);
        return played({ ...real, buffers: Object.fromEntries(buffers) }, lanes, [unit.M, unit.N, unit.K]);
      });
      const generator = new Generator(3);
      const values = (n: number) => Float32Array.from(generator.uniform(n), (u) => 2 * u - 1);
      const [left, right] = [values(rows * depth), values(columns * depth)];
      const turned = (x: Float32Array, outer: number) =>
        x.map((_, i) => x[(i % outer) * depth + Math.floor(i / outer)]);
      const [va, vb] = [a === 'outer' ? turned(left, rows) : left, b === 'outer' ? turned(right, columns) : right];
      const [y, sums] = [memory(rt, [rows, columns]), memory(rt, [rows])];
      const [down, across] = [Math.ceil(rows / config.blockM), Math.ceil(columns / config.blockN)];
      const strides = { aOuter: depth, aStep: rows, bOuter: depth, bStep: columns };
      const views = { a: memory(rt, [rows, depth], va), b: memory(rt, [columns, depth], vb), y, sums };
      launch(views, { rows, columns, depth, down, across, groups: down * across, ...strides }, down * across);
      const read = async (view: View) =>
        new Float32Array((await rt.read(view.block as GpuBlock, 0, 4 * sizeOf(view.shape))).slice().buffer);
      const [got, gotSums] = [await read(y), await read(sums)];
      for (let m = 0; m < rows; m++) {
        let total = 0;
        for (let k = 0; k < depth; k++) total += left[m * depth + k];
        assert.ok(Math.abs(gotSums[m] - total) < 1e-4, `sum of row ${m}`);
        for (let n = 0; n < columns; n++) {
          let sum = 0;
          for (let k = 0; k < depth; k++) sum += left[m * depth + k] * right[n * depth + k];
          assert.ok(
            Math.abs(got[m * columns + n] - sum) < 1e-4,
            `row ${m}, column ${n}: ${got[m * columns + n]}, not ${sum}`,
          );
        }
      }
    });
  }
});

/** The webgpu backend below its kernels: memory, dispatches, errors, loss of the device, a clean end. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { openDevice } from '../../backends/webgpu/device.js';
import { createBackend } from '../../backends/webgpu/index.js';
import { type GpuBlock, sizeClass } from '../../backends/webgpu/memory.js';
import { input, output } from '../../backends/webgpu/program.js';
import { gridOf, Runtime } from '../../backends/webgpu/runtime.js';
import { untar } from '../../backends/webgpu/software.js';
import { MAIN } from '../../backends/webgpu/wgsl/access.js';
import type { Backend, Stats, View } from '../../core/backend.js';
import { setDefaultBackend, warm } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { add, equal, exp, full, sqrt, transpose } from '../../core/ops/index.js';
import { empty, tensor } from '../../core/tensor.js';
import { disposeBackend } from '../../index.js';
import { packageRoot } from '../support/fixtures.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';

const found = await gpuOrReason();
const skip = typeof found === 'string' ? found : false;
const backend = found as Backend;
const options = { adapter: ADAPTER };

after(() => disposeBackend('webgpu'));

/** A runtime of its own, for tests that break it. */
async function freshRuntime(without: readonly string[] = []): Promise<Runtime> {
  const stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  return new Runtime(await openDevice({ ...options, without }), stats);
}

const viewOf = (block: GpuBlock, length: number, offset = 0): View => ({
  block,
  dtype: 'float32',
  shape: [length],
  strides: [1],
  offset,
});

const bytesOf = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const floatsOf = (bytes: Uint8Array): number[] => [...new Float32Array(bytes.slice().buffer)];

/** y = 2 x, with so many scalars that they do not fit beside the dispatch. */
const doubling = (rt: Runtime, scalars: number) =>
  rt.kernel(`double${scalars}`, () => ({
    buffers: { x: input('f32'), y: output('f32') },
    scalars: { n: 'u32', ...Object.fromEntries(Array.from({ length: scalars }, (_, i) => [`s${i}`, 'f32' as const])) },
    code: `${MAIN}
  if (t >= p.n) { return; }
  y[p.yAt + t] = 2.0f * x[p.xAt + t]${scalars > 0 ? ` + p.s${scalars - 1}` : ''};
}`,
  }));

it('rounds sizes up by at most a quarter', () => {
  for (let bytes = 1; bytes < 1e9; bytes = Math.ceil(bytes * 1.07)) {
    const size = sizeClass(bytes);
    assert.ok(size >= bytes && size % 256 === 0 && (size <= 256 || size <= 1.26 * bytes + 256), `${bytes}: ${size}`);
  }
});

it('makes grids that hold every group and stay below the limit', () => {
  for (const groups of [0, 1, 65535, 65536, 1e6, 65535 * 65535]) {
    const [x, y, z] = gridOf(groups);
    assert.ok(x <= 65535 && y <= 65535 && z === 1 && x * y >= groups, `${groups}: ${x} x ${y}`);
  }
});

it('reads regular files of a tar archive and stops at what is none', () => {
  const block = new Uint8Array(2048);
  block.set(new TextEncoder().encode('folder/a.txt'));
  block.set(new TextEncoder().encode('00000000005'), 124);
  block[156] = 48;
  block.set(new TextEncoder().encode('hello'), 512);
  assert.deepEqual(
    [...untar(block)].map(([name, bytes]) => [name, new TextDecoder().decode(bytes)]),
    [['a.txt', 'hello']],
  );
  assert.equal(untar(new Uint8Array(700).fill(255)).size, 0);
});

describe('webgpu', { skip }, () => {
  it('returns all memory, and uses it again', async () => {
    const rt = await freshRuntime();
    const { memory } = rt;
    const first = memory.alloc(1000, false);
    memory.free(first);
    const again = memory.alloc(1010, false);
    assert.equal(again.id, first.id, 'a buffer of the same size class is used again');
    memory.free(again);
    memory.trim();
    assert.deepEqual([memory.buffers, memory.reservedBytes], [0, 0]);
    // Resident blocks share a buffer, and it goes with the last one.
    const [a, b, c] = [300, 5000, 256].map((bytes) => memory.alloc(bytes, true));
    assert.ok(a.id === b.id && b.id === c.id && a.start + a.room <= b.start && b.start + b.room <= c.start);
    memory.free(b);
    const d = memory.alloc(4000, true);
    assert.equal(d.start, b.start, 'the gap is filled');
    for (const block of [a, c, d]) memory.free(block);
    assert.deepEqual([memory.buffers, memory.reservedBytes], [0, 0]);
    await rt.dispose();
  });

  it('dispatches with scalars beside the dispatch and in a uniform buffer', async () => {
    for (const [without, scalars] of [
      [[], 0],
      [[], 30],
      [['immediates'], 0],
    ] as const) {
      const rt = await freshRuntime(without);
      const [x, y] = [rt.memory.alloc(1024, false), rt.memory.alloc(1024, false)];
      rt.write(x, 0, bytesOf([1, 2, 3, 4]));
      const values = Object.fromEntries(Array.from({ length: scalars }, (_, i) => [`s${i}`, i]));
      // More dispatches than a batch has, and than the uniform buffer has slots.
      for (let i = 0; i < 600; i++) {
        doubling(rt, scalars)({ x: viewOf(x, 2, 1), y: viewOf(y, 2, i % 100) }, { n: 2, ...values }, 1);
      }
      const added = scalars > 0 ? scalars - 1 : 0;
      assert.deepEqual(floatsOf(await rt.read(y, 4 * 99, 8)), [4 + added, 6 + added]);
      assert.equal(rt.stats.launches, 600);
      await rt.dispose();
    }
  });

  it('writes to a buffer that it also reads, in ranges that do not meet', async () => {
    const rt = await freshRuntime();
    const [x, y] = [rt.memory.alloc(256, true), rt.memory.alloc(256, true)];
    assert.equal(x.id, y.id);
    rt.write(x, 0, bytesOf([5, 6]));
    doubling(rt, 0)({ x: viewOf(x, 2), y: viewOf(y, 2) }, { n: 2 }, 1);
    assert.deepEqual(floatsOf(await rt.read(y, 0, 8)), [10, 12]);
    await rt.dispose();
  });

  it('writes and reads any range of whole words, and odd tails at the end', async () => {
    const rt = await freshRuntime();
    const block = rt.memory.alloc(11, false);
    rt.write(block, 0, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
    rt.write(block, 4, Uint8Array.from([50, 60, 70, 80, 90, 100, 110]));
    assert.deepEqual([...(await rt.read(block, 0, 11))], [1, 2, 3, 4, 50, 60, 70, 80, 90, 100, 110]);
    assert.deepEqual([...(await rt.read(block, 3, 4))], [4, 50, 60, 70]);
    assert.deepEqual([...(await rt.read(block, 2, 0))], []);
    assert.throws(() => rt.write(block, 1, new Uint8Array(4)), RangeError);
    assert.throws(() => rt.write(block, 0, new Uint8Array(3)), RangeError);
    await rt.dispose();
  });

  it('tells at the next read that a kernel does not compile', async () => {
    const rt = await freshRuntime();
    const y = rt.memory.alloc(256, false);
    const broken = rt.kernel('broken', () => ({ buffers: { y: output('f32') }, code: `${MAIN} y[t] = oops; }` }));
    broken({ y: viewOf(y, 1) });
    await assert.rejects(rt.read(y, 0, 4), /kernel broken does not compile: .*oops/s);
    await assert.rejects(rt.sync(), /kernel broken does not compile/);
  });

  it('refuses an offset that the code would not see', async () => {
    const rt = await freshRuntime();
    const y = rt.memory.alloc(256, false);
    const blind = rt.kernel('blind', () => ({ buffers: { y: output('f32') }, code: `${MAIN} y[t] = 1.0f; }` }));
    assert.throws(() => blind({ y: viewOf(y, 1, 3) }), /kernel blind: y does not begin at its block/);
    await rt.dispose();
  });

  it('compiles ahead what a function would start, and starts nothing', async () => {
    const rt = await freshRuntime();
    const [x, y] = [rt.memory.alloc(256, false), rt.memory.alloc(256, false)];
    const work = () => doubling(rt, 3)({ x: viewOf(x, 1), y: viewOf(y, 1) }, { n: 1, s0: 0, s1: 0, s2: 7 }, 1);
    rt.write(x, 0, bytesOf([4]));
    rt.write(y, 0, bytesOf([-1]));
    await rt.warm(work);
    assert.deepEqual([floatsOf(await rt.read(y, 0, 4)), rt.stats.launches], [[-1], 0]);
    work();
    assert.deepEqual([floatsOf(await rt.read(y, 0, 4)), rt.stats.launches], [[15], 1]);
    await rt.dispose();
  });

  it('warms tensors up: kernels are compiled, and nothing is left', async () => {
    const { liveBytes, launches } = backend.stats;
    await warm(() => void sqrt(add(full([3], 4, { backend }), full([3], 5, { backend }))), backend);
    assert.deepEqual([backend.stats.liveBytes, backend.stats.launches], [liveBytes, launches]);
    const x = sqrt(full([3], 9, { backend }));
    assert.deepEqual(await x.toArray(), [3, 3, 3]);
    x.dispose();
  });

  it('turns the loss of the device into one sentence, at once and ever after', async () => {
    const rt = await freshRuntime();
    const [x, y] = [rt.memory.alloc(256, false), rt.memory.alloc(256, false)];
    const pending = rt.read(x, 0, 4);
    rt.device.destroy();
    // What a driver reset looks like from here.
    rt.lose('the driver was reset');
    await assert.rejects(pending, isLoss);
    await assert.rejects(rt.read(y, 0, 4), isLoss);
    await assert.rejects(rt.sync(), isLoss);
    assert.throws(() => rt.write(x, 0, new Uint8Array(4)), isLoss);
    assert.throws(() => doubling(rt, 0)({ x: viewOf(x, 1), y: viewOf(y, 1) }, { n: 1 }, 1), isLoss);
    await rt.dispose();
  });

  it('says which size of tensor the GPU can hold', async () => {
    assert.throws(
      () => backend.alloc(2 ** 33),
      (error: Error) => error instanceof InputError && /at most \d+ MB, and a tensor needs \d+ MB/.test(error.message),
    );
  });

  it('names the adapters when the one asked for is not there', async () => {
    await assert.rejects(
      createBackend({ adapter: 'no such card' }),
      /no GPU adapter named no such card; expected a part of \w+/,
    );
  });

  it('computes elementwise with and without immediates', async () => {
    const other = await createBackend({ ...options, without: ['immediates', 'subgroups'] });
    const results: unknown[] = [];
    for (const b of [backend, other]) {
      const before = setDefaultBackend(b);
      const x = tensor([0, 1, 2, 3, 4, 5], { shape: [2, 3] });
      const y = add(exp(transpose(x, 0, 1)), tensor([[10], [20], [30]]));
      results.push([await y.toArray(), await equal(x, 4).toArray(), await full([3], Number.NaN).toArray()]);
      setDefaultBackend(before);
    }
    assert.deepEqual(results[0], results[1]);
    assert.ok(Math.abs((results[0] as number[][][])[0][1][0] - (20 + Math.E)) < 1e-5);
    await other.dispose();
  });

  it('lays tensors of 1, 2 and 4 bytes into any place', async () => {
    const before = setDefaultBackend(backend);
    for (const dtype of ['uint8', 'float16', 'bfloat16', 'int32', 'bool'] as const) {
      const target = empty([3, 5], dtype, backend);
      backend.copy(full([3, 5], 1, { dtype }).view(), target.view());
      const hole = { ...target.view(), shape: [3, 2], offset: 1, strides: [5, 2] };
      backend.copy(full([3, 2], 0, { dtype }).view(), hole);
      assert.deepEqual(await target.toArray(), new Array(3).fill([1, 0, 1, 0, 1]), dtype);
    }
    setDefaultBackend(before);
  });

  it('ends the process by itself', () => {
    const entry = pathToFileURL(`${packageRoot}/dist/index.js`).href;
    const code = `const { useBackend, tensor, exp } = await import(${JSON.stringify(entry)});
await useBackend('webgpu', { adapter: ${JSON.stringify(ADAPTER)} });
console.log((await exp(tensor([0])).data())[0]);`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.deepEqual([status, stdout], [0, '1\n'], stderr);
  });
});

const isLoss = (error: Error): boolean =>
  error.name === 'DeviceLostError' && /^The GPU was lost \(.+\); start again, .* resumes/.test(error.message);

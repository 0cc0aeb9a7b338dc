/** Profiles: what is counted, how times add up, and the trace. */
import '../../core/methods.js';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { capture } from '../../core/capture.js';
import { setDefaultBackend } from '../../core/device.js';
import { scope } from '../../core/memory.js';
import { add, affine, dropout, globalNorm, linear, ones } from '../../core/ops/index.js';
import { type Profile, Profiler } from '../../core/profiler.js';
import type { Tensor } from '../../core/tensor.js';
import { gpuOrReason } from '../support/gpu.js';
import { withoutLeak } from '../support/values.js';

const gpu = await gpuOrReason();

interface Event {
  readonly name: string;
  readonly ph: string;
  readonly ts: number;
  readonly dur: number;
  readonly tid: number;
  readonly args: { readonly flops?: number; readonly kernel?: string };
}

const [M, K, N] = [48, 32, 40];

async function profiled(
  run: () => void | Promise<void>,
  ceilings = false,
  mostCalls?: number,
): Promise<{ profile: Profile; events: Event[] }> {
  const profiler = new Profiler(mostCalls);
  await run();
  const profile = await profiler.stop({ ceilings });
  assert.ok(profile);
  const { traceEvents } = JSON.parse(profile.trace) as { traceEvents: Event[] };
  return { profile, events: traceEvents.filter(({ ph }) => ph === 'X') };
}

const rowOf = ({ rows }: Profile, op: string) => {
  const row = rows.find((r) => r.op === op);
  assert.ok(row, `no ${op} in ${rows.map((r) => r.op)}`);
  return row;
};

for (const name of ['wasm', 'webgpu']) {
  const skip = name === 'webgpu' && typeof gpu === 'string' && gpu;
  const load = async (): Promise<Backend> => {
    const backend = name === 'wasm' ? await loadBackend('wasm', { threads: 1 }) : (gpu as Backend);
    setDefaultBackend(backend);
    return backend;
  };

  test(`operations, bytes and times of each kernel (${name})`, { skip }, async () => {
    const backend = await load();
    await withoutLeak(backend, async () => {
      const [x, w, b] = [ones([M, K]), ones([N, K]), ones([N])];
      const work = async () => {
        for (let i = 0; i < 3; i++) {
          scope(() => {
            globalNorm([dropout(add(linear(x, w, b), b), 0.5)]);
          });
        }
        await backend.sync();
      };
      await work();
      const { profile, events } = await profiled(work, true);
      // What comes after it is not its.
      await work();
      const product = rowOf(profile, 'linear');
      assert.equal(product.calls, 3);
      assert.ok(product.launches >= 3);
      assert.equal(product.flops, 3 * 2 * M * K * N);
      assert.equal(product.bytes, 3 * 4 * (M * K + K * N + N + M * N));
      assert.equal(rowOf(profile, 'add').bytes, 3 * 4 * (2 * M * N + N));
      assert.equal(rowOf(profile, 'add').flops, 0);
      // Two kernels on the GPU: neither has all the operations.
      const norm = rowOf(profile, 'globalNorm');
      assert.equal(norm.calls, 3);
      assert.equal(norm.flops, 3 * 2 * M * N);
      if (name === 'webgpu') assert.ok(norm.launches > 3);
      // Others do its work.
      assert.ok(profile.rows.every(({ op }) => op !== 'dropout'));
      assert.ok(profile.rows.some(({ op }) => op === 'randomBits'));
      const sum = profile.rows.reduce((n, row) => n + row.milliseconds, 0);
      assert.ok(sum > 0 && sum <= profile.milliseconds, `${sum} ms of ${profile.milliseconds}`);
      for (const row of profile.rows) assert.ok(row.milliseconds > 0, `${row.op} took no time`);
      assert.ok(Math.abs(product.flopRate - product.flops / (product.milliseconds / 1e3)) < 1e-6 * product.flopRate);
      assert.equal(profile.backend, name);
      assert.equal(profile.measuredOn, name === 'wasm' ? 'host' : 'device');
      if (profile.ceilings) {
        assert.ok((product.flopShare ?? 0) > 0);
        assert.ok(profile.ceilings.float32 > 0 && profile.ceilings.bandwidth > 0);
      }
      assert.equal(profile.ceilings === null, name === 'wasm');
      const calls = events.filter(({ tid, name: op }) => tid === 1 && op === 'linear');
      assert.equal(calls.length, 3);
      assert.equal(calls[0].args.flops, 2 * M * K * N);
      const kernels = events.filter(({ tid }) => tid === 2);
      assert.equal(kernels.length, name === 'wasm' ? 0 : profile.rows.reduce((n, row) => n + row.launches, 0));
      for (const { ts, dur } of events) assert.ok(ts >= 0 && dur >= 0, `${ts} ${dur}`);
      for (const t of [x, w, b]) t.dispose();
    });
  });
}

test('replayed kernels count as often as they ran', { skip: typeof gpu === 'string' && gpu }, async () => {
  const backend = gpu as Backend;
  setDefaultBackend(backend);
  await withoutLeak(backend, async () => {
    const [x, w] = [ones([M, K]), ones([N, K])];
    const { profile } = await profiled(() => {
      const step = capture((t: Tensor) => scope(() => affine(linear(t, w), 2, 0)));
      for (let i = 0; i < 5; i++) step(x).dispose();
      step.dispose();
    });
    assert.equal(rowOf(profile, 'linear').calls, 5);
    assert.equal(rowOf(profile, 'linear').flops, 5 * 2 * M * K * N);
    assert.equal(rowOf(profile, 'affine').launches, 5);
    for (const t of [x, w]) t.dispose();
  });
});

test('a profile that is full measures no further', async () => {
  const backend = await loadBackend('wasm', { threads: 1 });
  const x = ones([2], { backend });
  const run = () => {
    for (let i = 0; i < 5; i++) affine(x, 2, 0).dispose();
  };
  const calls = async (most?: number) => {
    const { profile } = await profiled(run, false, most);
    return [rowOf(profile, 'affine').calls, profile.isCut];
  };
  assert.deepEqual(await calls(3), [3, true]);
  assert.deepEqual(await calls(5), [5, false]);
  assert.deepEqual(await calls(), [5, false]);
  x.dispose();
});

test('a profile of nothing is none, and one that is abandoned leaves nothing', async () => {
  assert.equal(await new Profiler().stop(), null);
  const backend = await loadBackend('wasm', { threads: 1 });
  const x = ones([2], { backend });
  const profiler = new Profiler();
  affine(x, 2, 0).dispose();
  profiler.abandon();
  const { now } = performance;
  performance.now = () => assert.fail('a call was measured');
  try {
    affine(x, 2, 0).dispose();
  } finally {
    performance.now = now;
  }
  const { profile } = await profiled(() => affine(x, 2, 0).dispose());
  assert.deepEqual(
    profile.rows.map(({ op, calls }) => [op, calls]),
    [['affine', 1]],
  );
  x.dispose();
});

after(async () => {
  for (const name of ['wasm', 'webgpu']) await disposeBackend(name);
});

/** Attention on webgpu: odd sizes, masks, dropout, gradients and what they add up to, launches, half floats. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type AdapterFacts, openDevice } from '../../backends/webgpu/device.js';
import { createBackend } from '../../backends/webgpu/index.js';
import { createKernels } from '../../backends/webgpu/kernels/index.js';
import type { GpuBlock } from '../../backends/webgpu/memory.js';
import { Runtime } from '../../backends/webgpu/runtime.js';
import type { Backend, View } from '../../core/backend.js';
import { capture } from '../../core/capture.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import type { DType } from '../../core/dtype.js';
import { contiguousStrides } from '../../core/layout.js';
import { scope } from '../../core/memory.js';
import { definedOps, type OpDefinition } from '../../core/op.js';
import { add, attention, mul, sum } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { disposeBackend, loadBackend } from '../../index.js';
import { assertClose } from '../support/compare.js';
import { emulated, emulatedBytes } from '../support/emulatedMatrices.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';
import { checkShaders, nullGpu } from '../support/nullGpu.js';
import { compareOn, Oracle } from '../support/run.js';
import type { Input, LayoutName, Trial } from '../support/samples.js';
import { readAll, withoutLeak } from '../support/values.js';

const found = await gpuOrReason();
const skip = typeof found === 'string' ? found : false;
const gpu = found as Backend;
const oracle = new Oracle(await loadBackend('reference'));
const op = definedOps().get('attention') as OpDefinition;

after(() => disposeBackend('webgpu'));

interface Case {
  readonly sizes: readonly [B: number, Lq: number, Lk: number, H: number, d: number];
  /** Values of the key padding, or whether there is one. */
  readonly padding?: boolean | readonly number[];
  readonly bias?: Input;
  readonly dropout?: number;
  readonly layout?: LayoutName;
}

/** What is left of the gradient of the keys' bias; without the correction it is thirty times as much. */
const BIAS_REST = 6e-7;

/** Sizes and dtypes of heads. */
const WIDTHS: readonly (readonly [number, DType])[] = [
  [64, 'float16'],
  [128, 'float16'],
  [64, 'float32'],
  [30, 'float16'],
];

const STATE = { seed: [7, 9], counter: [0xfffffffe, 3] } as const;

function trialOf({ sizes, padding, bias, dropout = 0, layout = 'contiguous' }: Case): Trial {
  const [B, Lq, Lk, H, d] = sizes;
  const q = { shape: [B, Lq, H, d] };
  const k = { shape: [B, Lk, H, d] };
  const barred: Input | null = padding
    ? { shape: [B, Lk], dtype: 'bool', values: padding === true ? undefined : padding }
    : null;
  const attrs = { scale: 1 / Math.sqrt(d), dropout, ...STATE };
  return { op, sample: { inputs: [q, k, k, barred, bias ?? null], attrs }, dtype: 'float32', layout, seed: 3 };
}

/** Runs `make` on the GPU; its tensors are freed. */
async function onGpu<K extends string>(make: () => Record<K, Tensor>) {
  const before = setDefaultBackend(gpu);
  try {
    return await withoutLeak(gpu, () => readAll(make));
  } finally {
    setDefaultBackend(before);
  }
}

const normal = (shape: readonly number[], seed: number): Tensor =>
  tensor(new Generator(seed).normal(shape.reduce((n, s) => n * s, 1)), { shape });

/** The gradient of the keys, of a weighted sum of attention between numbers around `mean`. */
function keyGradient([B, Lq, Lk, H, d]: Case['sizes'], mean: number): Tensor {
  const [q, k, v] = [Lq, Lk, Lk].map((L, i) => add(normal([B, L, H, d], i + 1), mean));
  k.requireGrad();
  sum(mul(attention(q, k, v), normal([B, Lq, H, d], 5))).backward();
  const { grad } = k;
  k.grad = null;
  return grad as Tensor;
}

describe('attention on webgpu', { skip }, () => {
  it('is that of the reference, and so are its gradients, for sizes around those of tiles', async () => {
    const cases: Case[] = [
      { sizes: [1, 33, 65, 2, 64] },
      { sizes: [2, 64, 32, 1, 32] },
      { sizes: [1, 66, 31, 2, 20], padding: true },
      { sizes: [2, 1, 97, 3, 64], padding: true },
      { sizes: [1, 70, 5, 1, 3], layout: 'transposed' },
      { sizes: [1, 17, 40, 2, 30], layout: 'sliced', padding: true },
      { sizes: [1, 12, 40, 1, 128] },
    ];
    for (const c of cases) assert.equal(await compareOn(oracle, gpu, trialOf(c)), 5);
  });

  it('adds a bias of any strides and gives its gradient', async () => {
    const sizes = [2, 19, 37, 2, 8] as const;
    for (const shape of [[2, 2, 19, 37], [37], [2, 1, 1, 37], [2, 19, 1]]) {
      assert.equal(await compareOn(oracle, gpu, trialOf({ sizes, bias: { shape }, padding: true })), 6);
    }
    const sliced = trialOf({ sizes, bias: { shape: [19, 37] }, layout: 'sliced' });
    assert.equal(await compareOn(oracle, gpu, sliced), 6);
  });

  it('drops the weights that the decomposition drops, forward and backward', async () => {
    // Four neighbours share a block of random words only where the number of keys is a multiple of four.
    for (const keys of [33, 34, 35, 36]) {
      assert.equal(await compareOn(oracle, gpu, trialOf({ sizes: [2, 21, keys, 2, 16], dropout: 0.4 })), 5);
    }
    const bias = { shape: [2, 1, 21, 37] };
    assert.equal(await compareOn(oracle, gpu, trialOf({ sizes: [2, 21, 37, 2, 5], dropout: 0.1, bias })), 6);
  });

  it('gives zeros where there is nothing to attend to', async () => {
    const sizes = [2, 18, 35, 1, 8] as const;
    const padding = Array.from({ length: 70 }, (_, i) => (i < 35 || i % 3 === 0 ? 1 : 0));
    assert.equal(await compareOn(oracle, gpu, trialOf({ sizes, padding })), 5);
    const values = Array.from({ length: 18 * 35 }, (_, i) =>
      Math.floor(i / 35) % 2 === 0 || i % 35 < 33 ? Number.NEGATIVE_INFINITY : 0.5,
    );
    assert.equal(await compareOn(oracle, gpu, trialOf({ sizes, bias: { shape: [18, 35], values } })), 6);
    const [o, lse] = await onGpu(() => {
      const [q, k] = [normal([2, 18, 1, 8], 1), normal([2, 35, 1, 8], 2)];
      const barred = tensor(padding, { shape: [2, 35], dtype: 'bool' });
      const [o, lse] = call(op, [q, k, k, barred, null], { scale: 1, dropout: 0, ...STATE });
      return { o: o.slice(0, 0, 1), lse: lse.slice(0, 0, 1) };
    }).then((r) => [r.o, r.lse]);
    assert.deepEqual([...new Set([...Array.from(o.data), ...Array.from(lse.data)])], [0]);
  });

  it("a query's score gradients cancel: the gradient of the keys' bias is rounding alone", async () => {
    const { k } = await onGpu(() => ({ k: keyGradient([1, 200, 197, 1, 16], 10) }));
    const total = new Float64Array(16);
    let size = 0;
    Array.from(k.data).forEach((g, i) => {
      total[i % 16] += g;
      size += g * g;
    });
    const left = Math.hypot(...total) / Math.sqrt(size);
    assert.ok(left < BIAS_REST, `${left} of the gradients' norm is left`);
  });

  it('is one launch forward and two backward, and the same every time', async () => {
    const counts: number[] = [];
    const results = [];
    for (let i = 0; i < 2; i++) {
      results.push(
        await onGpu(() => {
          const [q, k] = [normal([1, 40, 2, 64], 1), normal([1, 50, 2, 64], 2)];
          const barred = tensor(
            Array.from({ length: 50 }, (_, j) => (j > 44 ? 1 : 0)),
            { shape: [1, 50], dtype: 'bool' },
          );
          const attrs = { scale: 0.125, dropout: 0.1, ...STATE };
          const backward = definedOps().get('attentionBackward') as OpDefinition;
          counts.push(gpu.stats.launches);
          const [o, lse] = call(op, [q, k, k, barred, null], attrs);
          counts.push(gpu.stats.launches);
          const [dq, dk, dv] = call(backward, [o, q, k, k, o, lse, barred, null], { ...attrs, biasGrad: false });
          counts.push(gpu.stats.launches);
          return { o, lse, dq, dk, dv };
        }),
      );
    }
    assert.deepEqual([counts[1] - counts[0], counts[2] - counts[1]], [1, 2]);
    for (const name of ['o', 'lse', 'dq', 'dk', 'dv'] as const) {
      assert.deepEqual(results[1][name].data, results[0][name].data);
    }
  });

  it('draws new random numbers at each replay of a captured step, those of eager calls', async () => {
    const before = setDefaultBackend(gpu);
    try {
      const [captured, eager] = [8, 8].map((seed) => new Generator(seed));
      const run = (generator: Generator) => (q: Tensor, k: Tensor) => {
        q.requireGrad();
        const o = attention(q, k, k, { dropout: 0.3, generator });
        sum(o).backward();
        const { grad } = q;
        q.grad = null;
        q.requireGrad(false);
        return { o: o.detach(), grad: grad as Tensor };
      };
      const step = capture((q: Tensor, k: Tensor) => scope(() => run(captured)(add(q, 0), k)));
      const [q, k] = [normal([1, 5, 2, 8], 1), normal([1, 7, 2, 8], 2)];
      const seen = new Set<string>();
      for (let i = 0; i < 5; i++) {
        const [got, wanted] = [step(q, k), scope(() => run(eager)(add(q, 0), k))];
        for (const name of ['o', 'grad'] as const) {
          const values = await got[name].data();
          assert.deepEqual(values, await wanted[name].data(), `${name} of call ${i}`);
          seen.add(String(values));
        }
        for (const t of [...Object.values(got), ...Object.values(wanted)]) t.dispose();
      }
      assert.ok(step.recording);
      assert.equal(seen.size, 10);
      for (const t of [step, q, k]) t.dispose();
    } finally {
      setDefaultBackend(before);
    }
  });

  it('works without immediates and subgroups, and within the least of limits', async () => {
    const plain = await createBackend({ adapter: ADAPTER, without: ['immediates', 'subgroups', 'limits'] });
    try {
      for (const padding of [true, false])
        assert.equal(await compareOn(oracle, plain, trialOf({ sizes: [1, 19, 34, 2, 64], padding })), 5);
    } finally {
      await plain.dispose();
    }
  });

  it('is the same on matrix units, forward and backward, each product done by hand', async () => {
    const lanes = 32;
    for (const [size, masked, [B, Lq, Lk, H, d]] of [
      [16, true, [1, 66, 37, 1, 16]],
      [8, false, [1, 17, 37, 2, 16]],
    ] as const) {
      const open = await openDevice({ adapter: ADAPTER });
      const unit = { M: size, N: size, K: size, componentType: 'f16', resultComponentType: 'f32' };
      const one = { subgroupMinSize: lanes, subgroupMaxSize: lanes };
      const runtime = (facts: Partial<AdapterFacts>) =>
        new Runtime(
          { ...open, facts: { ...open.facts, ...facts } },
          { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 },
        );
      const started: string[] = [];
      /** Log-sum-exp, output and gradients; `dtype` is only what the kernel is told. */
      const results = async (rt: Runtime, dtype: DType): Promise<Float32Array[]> => {
        const view = (shape: readonly number[], kind: DType, bytes?: Uint8Array): View => {
          const block = rt.memory.alloc(bytes?.length ?? 4 * shape.reduce((n, s) => n * s, 1), false);
          if (bytes) rt.write(block, 0, bytes);
          return { block, dtype: kind, shape, strides: contiguousStrides(shape), offset: 0 };
        };
        const random = (shape: readonly number[], kind: DType, seed: number) =>
          view(shape, kind, new Uint8Array(new Generator(seed).normal(shape.reduce((n, s) => n * s, 1)).buffer));
        const [qs, ks, bs] = [
          [B, Lq, H, d],
          [B, Lk, H, d],
          [B, H, Lq, Lk],
        ];
        const [q, k, v, dy] = [qs, ks, ks, qs].map((shape, i) => random(shape, dtype, i));
        const barred = Uint8Array.from({ length: B * Lk }, (_, i) => (i % 5 === 0 ? 1 : 0));
        const masks = masked ? [view([B, Lk], 'bool', barred), random(bs, 'float32', 9)] : [null, null];
        const attrs = { scale: 0.3, dropout: 0, ...STATE, biasGrad: masked };
        const [o, lse] = [view(qs, dtype), view([B, H, Lq], 'float32')];
        const kernels = createKernels(rt);
        kernels.get('attention')?.plan([q, k, v, ...masks], attrs, [o, lse])?.([o, lse]);
        const grads = [view(qs, dtype), view(ks, dtype), view(ks, dtype), ...(masked ? [view(bs, 'float32')] : [])];
        kernels.get('attentionBackward')?.plan([dy, q, k, v, o, lse, ...masks], attrs, grads)?.(grads);
        const bytes = [lse, o, ...grads].map((y) => rt.read(y.block as GpuBlock, 0, y.block.bytes));
        return (await Promise.all(bytes)).map((b) => new Float32Array(b.slice().buffer));
      };
      const plain = runtime({});
      const byUnits = runtime({ ...one, half: true, matrices: [unit] });
      const block = byUnits.memory.alloc(emulatedBytes(8), false);
      const memory: View = { block, dtype: 'float32', shape: [block.bytes / 4], strides: [1], offset: 0 };
      const kernel = byUnits.kernel.bind(byUnits);
      byUnits.kernel = (key, define) => {
        started.push(key.split(':')[0]);
        const launch = kernel(key, () => emulated(define(), lanes));
        return (views, scalars, groups) => launch({ ...views, memory }, scalars, groups);
      };
      const [got, wanted] = [await results(byUnits, 'float16'), await results(plain, 'float32')];
      assert.deepEqual(started, ['attentionMatrix', 'attentionBackwardMatrix', 'attentionBackwardMatrix']);
      const names = ['lse', 'o', 'dq', 'dk', 'dv', 'dbias'];
      wanted.forEach((values, i) => {
        assertClose(got[i], values, { relative: 2e-5, absolute: 2e-5 }, `${names[i]}, units of ${size}`);
      });
      await plain.dispose();
    }
  });

  it('compiles for half floats, all masks and tiles of every size', async () => {
    const keys = new Set<string>();
    const unit = { M: 16, N: 16, K: 16, componentType: 'f16', resultComponentType: 'f32' };
    const matrices = { subgroupMinSize: 32, subgroupMaxSize: 32, matrices: [unit] };
    for (const [memory, more] of [
      [49152, {}],
      [49152, matrices],
      [32768, {}],
      [16384, {}],
    ] as const) {
      const none = await nullGpu({ half: true, ...more });
      const { kernels, view } = none;
      const check = () => {
        for (const [d, dtype] of WIDTHS) {
          for (const masked of [false, true]) {
            const [B, Lq, Lk, H] = [2, 70, 50, 2];
            const q = view([B, Lq, H, d], dtype);
            const k = view([B, Lk, H, d], dtype);
            const lse = view([B, H, Lq], 'float32');
            const masks = masked ? [view([B, Lk], 'bool'), view([B, H, Lq, Lk], dtype)] : [null, null];
            const attrs = { scale: 0.1, dropout: masked && more !== matrices ? 0.1 : 0, ...STATE, biasGrad: masked };
            kernels.get('attention')?.plan([q, k, k, ...masks], attrs, [q, lse])?.([q, lse]);
            const grads = [q, k, k, ...(masked ? [view([B, H, Lq, Lk], 'float32')] : [])];
            kernels.get('attentionBackward')?.plan([q, q, k, k, q, lse, ...masks], attrs, grads)?.(grads);
          }
        }
      };
      const limits = { maxComputeWorkgroupStorageSize: memory, maxStorageBuffersPerShaderStage: 10 };
      for (const key of await checkShaders(none, limits, check)) keys.add(key);
      await none.rt.dispose();
    }
    const onUnits = [...keys].filter((k) => k.includes('Matrix'));
    // Forward, dq, and dk with dv, in two widths, with masks and without.
    assert.equal(onUnits.length, 12);
    const rows = (name: string) =>
      [...keys].filter((k) => k.startsWith(name) && k.includes('float16')).map((k) => /:(\d+)x64:/.exec(k)?.[1] ?? '');
    assert.deepEqual(new Set(rows('attention:')), new Set(['', '64', '32', '16']));
    assert.deepEqual(new Set(rows('attentionBackward:k')), new Set(['', '32', '8']));
  });
});

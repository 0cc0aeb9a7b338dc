/** Layer norm and softmax on webgpu: short and long rows, odd widths, accuracy, launches, half floats. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { createBackend } from '../../backends/webgpu/index.js';
import type { Backend, View } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { definedOps, type OpDefinition } from '../../core/op.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { disposeBackend, loadBackend } from '../../index.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';
import { checkShaders, nullGpu } from '../support/nullGpu.js';
import { compareOn, Oracle } from '../support/run.js';
import type { Input, LayoutName } from '../support/samples.js';
import { readAll, withoutLeak } from '../support/values.js';

const found = await gpuOrReason();
const skip = typeof found === 'string' ? found : false;
const gpu = found as Backend;
const oracle = new Oracle(await loadBackend('reference'));

after(() => disposeBackend('webgpu'));

const opOf = (name: string): OpDefinition => definedOps().get(name) as OpDefinition;

/** Values and gradients of an op against the reference; how many were compared. */
const compare = (name: string, inputs: readonly (Input | null)[], attrs: object, on = gpu, layout?: LayoutName) =>
  compareOn(oracle, on, {
    op: opOf(name),
    sample: { inputs, attrs },
    dtype: 'float32',
    layout: layout ?? 'contiguous',
    seed: 11,
  });

const EPS = { eps: 1e-5 };

describe('rows on webgpu', { skip }, () => {
  it('layer norm of rows that one team holds, that a workgroup holds, and longer ones', async () => {
    // Four elements at a time up to 8192, one at a time up to 2048; gradients are held up to three quarters of that.
    for (const width of [1, 33, 128, 260, 768, 1030, 3072, 8192, 8196, 2047, 2049]) {
      const w = { shape: [width] };
      assert.equal(await compare('layerNorm', [{ shape: [3, width] }, w, w], EPS), 6, `width ${width}`);
    }
    assert.equal(await compare('layerNorm', [{ shape: [700, 12] }, null, null], EPS), 4);
    assert.equal(await compare('layerNorm', [{ shape: [5, 7, 24] }, { shape: [24] }, null], EPS, gpu, 'sliced'), 5);
  });

  it('multiway layer norm, split anywhere', async () => {
    for (const [B, L, width, split] of [
      [3, 197, 8, 64],
      [2, 5, 768, 1],
      [1, 40, 13, 39],
    ]) {
      const w = { shape: [width] };
      assert.equal(await compare('multiwayLayerNorm', [{ shape: [B, L, width] }, w, w, w, w], { split, ...EPS }), 8);
    }
  });

  it('layer norm keeps its accuracy where the mean is large beside the deviation', async () => {
    const x = Array.from({ length: 768 }, (_, i) => 1000 + ((i * 37) % 101) / 64);
    const { y } = await onGpu(() => ({
      y: call(opOf('layerNorm'), [tensor(x, { shape: [1, 768] }), null, null], EPS)[0],
    }));
    const mean = x.reduce((a, b) => a + b) / 768;
    const deviation = Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / 768 + 1e-5);
    const worst = Math.max(...x.map((v, i) => Math.abs((v - mean) / deviation - y.data[i])));
    // The sum of squares alone would be off by 0.1.
    assert.ok(worst < 2e-4, `${worst}`);
  });

  it('softmax and its logarithm over short and long rows', async () => {
    for (const name of ['softmax', 'logSoftmax']) {
      for (const shape of [
        [3, 1],
        [70, 4],
        [5, 197],
        [3, 1024],
        [2, 2049],
        [2, 8200],
        [1, 64_010],
      ]) {
        assert.equal(await compare(name, [{ shape, low: -20, high: 20 }], {}), 2, `${name} ${shape}`);
      }
      assert.equal(await compare(name, [{ shape: [4, 9] }], {}, gpu, 'sliced'), 2);
    }
  });

  it('softmax of infinities and NaN', async () => {
    const { NEGATIVE_INFINITY: low, POSITIVE_INFINITY: high, NaN: nan } = Number;
    const rows = [
      [low, 0, 1, low, 2],
      [low, low, low, low, low],
      [high, 0, 1, 2, 3],
      [nan, 0, 1, 2, 3],
      [3e38, -3e38, 0, 1, 3e38],
      [-3e38, -3e38, -2.9e38, -3e38, low],
    ];
    const long = rows.flatMap((row) => Array.from({ length: 2100 }, (_, i) => row[i % 5]));
    for (const name of ['softmax', 'logSoftmax']) {
      await compare(name, [{ shape: [6, 5], values: rows.flat() }], {});
      await compare(name, [{ shape: [6, 2100], values: long }], {});
    }
  });

  it('one launch forward, at most two backward', async () => {
    const counts: Record<string, number> = {};
    await onGpu(() => {
      const t = (...shape: number[]) => tensor(new Float32Array(shape.reduce((n, s) => n * s)).fill(1), { shape });
      const launches = (name: string, inputs: readonly (Tensor | null)[], attrs: object) => {
        const before = gpu.stats.launches;
        const outputs = call(opOf(name), inputs, attrs);
        counts[name] = gpu.stats.launches - before;
        return outputs;
      };
      const [x, w] = [t(2, 5, 768), t(768)];
      const [y, mean, rstd] = launches('layerNorm', [x, w, w], EPS);
      launches('layerNormBackward', [x, x, mean, rstd, w], {});
      launches('multiwayLayerNorm', [x, w, w, w, w], { split: 2, ...EPS });
      launches('multiwayLayerNormBackward', [x, x, mean, rstd, w, w], { split: 2 });
      launches('softmax', [x], {});
      launches('softmaxBackward', [x, x], {});
      launches('logSoftmax', [x], {});
      launches('logSoftmaxBackward', [x, x], {});
      return { y };
    });
    const two = ['layerNormBackward', 'multiwayLayerNormBackward'];
    for (const [name, n] of Object.entries(counts)) assert.equal(n, two.includes(name) ? 2 : 1, name);
  });

  it('works without subgroups and immediates', async () => {
    const plain = await createBackend({ adapter: ADAPTER, without: ['immediates', 'subgroups'] });
    try {
      const w = { shape: [300] };
      assert.equal(await compare('layerNorm', [{ shape: [20, 300] }, w, w], EPS, plain), 6);
      assert.equal(
        await compare('multiwayLayerNorm', [{ shape: [2, 9, 300] }, w, w, w, w], { split: 4, ...EPS }, plain),
        8,
      );
      assert.equal(await compare('softmax', [{ shape: [20, 130] }], {}, plain), 2);
      assert.equal(await compare('logSoftmax', [{ shape: [2, 9000] }], {}, plain), 2);
    } finally {
      await plain.dispose();
    }
  });

  it('compiles for half floats, on GPUs with subgroups of one size, of several, and of none', async () => {
    for (const facts of [
      { subgroups: true, subgroupMinSize: 32, subgroupMaxSize: 32 },
      { subgroups: true, subgroupMinSize: 8, subgroupMaxSize: 64 },
      { subgroups: false },
    ]) {
      const none = await nullGpu({ half: true, ...facts });
      const { kernels, view } = none;
      const run = (name: string, inputs: readonly View[], attrs: object) => {
        const outputs = opOf(name)
          .infer(inputs, attrs)
          .map((s) => view(s.shape, s.dtype));
        kernels.get(name)?.plan(inputs, attrs, outputs)?.(outputs);
      };
      const started = await checkShaders(none, none.rt.device.limits as unknown as Record<string, number>, () => {
        for (const width of [768, 3072, 33]) {
          const [x, w, row] = [view([2, 5, width], 'float16'), view([width], 'float16'), view([2, 5], 'float32')];
          run('layerNorm', [x, w, w], EPS);
          run('layerNormBackward', [x, x, row, row, view([width], 'float32')], {});
          run('multiwayLayerNorm', [x, w, w, w, w], { split: 2, ...EPS });
          run('multiwayLayerNormBackward', [x, x, row, row, w, w], { split: 2 });
          for (const name of ['softmax', 'logSoftmax']) {
            run(name, [x], {});
            run(`${name}Backward`, [x, x], {});
          }
        }
      });
      assert.ok(started.length >= 24, `${started.length} kernels`);
      await none.rt.dispose();
    }
  });
});

/** Runs `make` on the GPU; its tensors are freed. */
async function onGpu<K extends string>(make: () => Record<K, Tensor>) {
  const before = setDefaultBackend(gpu);
  try {
    return await withoutLeak(gpu, () => readAll(make));
  } finally {
    setDefaultBackend(before);
  }
}

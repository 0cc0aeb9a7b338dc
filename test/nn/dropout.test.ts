import assert from 'node:assert/strict';
import { backward } from '../../autograd/backward.js';
import { loadBackend } from '../../backends/index.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { ones, sum } from '../../core/ops/index.js';
import { Generator, manualSeed } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { Dropout, DropPath, type Layer } from '../../nn/layers.js';
import { BACKENDS, readOne, testEach, testOn } from '../support/backends.js';

/** What a layer makes of ones. */
const onOnes = async (layer: Layer, shape: readonly number[]): Promise<number[]> =>
  Array.from((await readOne(() => layer.forward(ones(shape)))).data);

testEach('dropout keeps the mean, and as many elements as it should', async () => {
  manualSeed(11);
  const n = 40_000;
  for (const p of [0.1, 0.5, 0.9]) {
    const y = await onOnes(new Dropout(p), [200, n / 200]);
    const kept = y.filter((v) => v !== 0);
    assert.ok(kept.every((v) => v === Math.fround(1 / (1 - p))));
    // Five standard deviations of a binomial.
    const bound = 5 * Math.sqrt((p * (1 - p)) / n);
    assert.ok(Math.abs(kept.length / n - (1 - p)) < bound, `${kept.length} of ${n} kept at ${p}`);
    // Neighbours are independent, along both axes.
    for (const step of [1, n / 200]) {
      const both = y.filter((v, i) => i + step < n && v !== 0 && y[i + step] !== 0).length / (n - step);
      assert.ok(Math.abs(both - (1 - p) ** 2) < 3 * bound, `pairs at distance ${step}`);
    }
  }
});

testEach('dropPath drops whole samples and keeps the mean', async () => {
  manualSeed(12);
  const [samples, width] = [20_000, 3];
  const y = await onOnes(new DropPath(0.2), [samples, width, 1]);
  let kept = 0;
  for (let i = 0; i < samples; i++) {
    const row = new Set(y.slice(i * width, (i + 1) * width));
    assert.equal(row.size, 1);
    const [v] = row;
    assert.ok(v === 0 || v === 1.25);
    if (v !== 0) kept++;
  }
  assert.ok(Math.abs(kept / samples - 0.8) < 5 * Math.sqrt(0.16 / samples));
});

testEach('both give x itself in eval, and at probability 0', () => {
  const x = ones([4]);
  for (const make of [(p: number) => new Dropout(p), (p: number) => new DropPath(p)]) {
    assert.equal(make(0.5).eval().forward(x), x);
    assert.equal(make(0).forward(x), x);
    for (const p of [1, -0.1, Number.NaN]) assert.throws(() => make(p), OpError);
  }
  x.dispose();
});

testEach('a seed decides all masks, and no two calls have the same', async () => {
  for (const layer of [new Dropout(0.5), new DropPath(0.5)]) {
    manualSeed(7);
    const [a, b] = [await onOnes(layer, [64, 2]), await onOnes(layer, [64, 2])];
    manualSeed(7);
    assert.deepEqual([await onOnes(layer, [64, 2]), await onOnes(layer, [64, 2])], [a, b]);
    assert.notDeepEqual(a, b);
    manualSeed(8);
    assert.notDeepEqual(await onOnes(layer, [64, 2]), a);
  }
  const own = new Dropout(0.5, new Generator(3));
  const first = await onOnes(own, [50]);
  manualSeed(3);
  assert.notDeepEqual(await onOnes(own, [50]), first, 'a generator of its own goes its own way');
  assert.deepEqual(await onOnes(new Dropout(0.5, new Generator(3)), [50]), first);
});

testOn('wasm', 'masks are the same on every backend', async () => {
  for (const shape of [[1], [5, 7], [3, 333]]) {
    for (const make of [() => new Dropout(0.3, new Generator(5)), () => new DropPath(0.3, new Generator(5))]) {
      const results: number[][] = [];
      for (const name of BACKENDS) {
        const backend = await loadBackend(name, { threads: 2 });
        results.push(Array.from((await readOne(() => make().forward(ones(shape, { backend })))).data));
      }
      assert.deepEqual(results[1], results[0]);
    }
  }
});

testEach('gradients flow where values did', async () => {
  for (const layer of [new Dropout(0.4, new Generator(9)), new DropPath(0.4, new Generator(9))]) {
    const x = tensor(new Float32Array(60).fill(1), { shape: [20, 3], requiresGrad: true });
    const y = scope(() => {
      const out = layer.forward(x);
      backward(sum(out));
      return out.detach();
    });
    assert.deepEqual(await (x.grad as Tensor).data(), await y.data());
    y.dispose();
    x.dispose();
  }
});

testEach('the dtype stays, and nothing is dropped from nothing', async () => {
  for (const layer of [new Dropout(0.5), new DropPath(0.5)]) {
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const y = await readOne(() => layer.forward(ones([3, 2], { dtype })));
      assert.equal(y.dtype, dtype);
    }
    const none = await readOne(() => layer.forward(ones([0, 2])));
    assert.deepEqual([...none.shape], [0, 2]);
  }
});

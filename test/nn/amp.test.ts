import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import '../../autograd/index.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { intercept, ORDER } from '../../core/dispatch.js';
import { scope } from '../../core/memory.js';
import { assign, mean, mul, sum } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { autocast, computesHalf, GradScaler } from '../../nn/amp.js';
import { Builder, type Parameter } from '../../nn/builder.js';
import { constant } from '../../nn/init.js';
import { Linear } from '../../nn/layers.js';
import { AdamW } from '../../nn/optim.js';

let backend: Backend;
/** The reference backend, as if it computed in float16: it rounds what it stores. */
let half: Backend;

before(async () => {
  backend = await useBackend('reference');
  half = new Proxy(backend, {
    get: (target, key) => {
      if (key === 'caps') return { ...target.caps, storageOnly: new Set() };
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
});
after(() => disposeBackend('reference'));

function forget(p: Parameter): void {
  p.grad?.dispose();
  p.grad = null;
}

describe('GradScaler', () => {
  it('grows after 2,000 good steps, halves after a bad one, as in PyTorch', () => {
    const scaler = new GradScaler();
    assert.equal(scaler.scale, 65536);
    for (let i = 0; i < 1999; i++) scaler.update(true);
    assert.deepEqual(scaler.state(), { scale: 65536, growthTracker: 1999 });
    scaler.update(true);
    assert.deepEqual(scaler.state(), { scale: 131072, growthTracker: 0 });
    scaler.update(true);
    scaler.update(false);
    assert.deepEqual(scaler.state(), { scale: 65536, growthTracker: 0 });
    const resumed = new GradScaler().restore({ scale: 8, growthTracker: 1999 });
    resumed.update(true);
    assert.equal(resumed.scale, 16);
    assert.throws(() => new GradScaler().restore({ scale: 0, growthTracker: 0 }), { name: 'InputError' });
    assert.throws(() => new GradScaler({ growthFactor: 1 }), { name: 'InputError' });
  });

  it('does not grow beyond what a float32 holds', () => {
    const scaler = new GradScaler({ scale: 2 ** 127, growthInterval: 1 });
    scaler.update(true);
    assert.equal(scaler.scale, 2 ** 127);
  });

  it('divides gradients by the scale and finds those that are no numbers', async () => {
    const p = new Builder({ backend }).parameter([3], constant(1));
    const scaler = new GradScaler({ scale: 4 });
    const grads = async (factors: number[]): Promise<boolean> => {
      scope(() => sum(mul(p, tensor(factors, { backend }))).backward());
      return scaler.unscale([p]);
    };
    assert.equal(await grads([4, 8, -2]), true);
    assert.deepEqual([...((await p.grad?.data()) ?? [])], [1, 2, -0.5]);
    forget(p);
    assert.equal(await grads([4, Number.POSITIVE_INFINITY, 1]), false);
    forget(p);
    assert.equal(await scaler.unscale([p]), true);
    p.dispose();
  });
});

describe('autocast', () => {
  it('is refused where float16 is only stored', () => {
    assert.equal(computesHalf(backend), false);
    assert.throws(() => autocast(backend, () => 1), {
      name: 'InputError',
      message: /reference does not compute in float16/,
    });
  });

  it('rounds the operands of products to float16, and keeps gradients and all else in float32', async () => {
    const layer = new Linear(new Builder({ backend: half, generator: new Generator(1) }), 8, 4);
    const x = tensor(
      [new Generator(2).normal(8).map((v) => v / 3)].map((row) => [...row]),
      { backend: half },
    );
    const run = (fn: <T>(f: () => T) => T) =>
      scope(() => {
        const y = fn(() => layer.forward(x));
        mean(mul(y, y)).backward();
        return y;
      });
    const plain = run((f) => f());
    const grad = Float32Array.from((await layer.weight.grad?.data()) as Float32Array);
    layer.zeroGrad();
    const cast = run((f) => autocast(half, f));
    assert.equal(cast.dtype, 'float32');
    assert.equal(layer.weight.grad?.dtype, 'float32');
    const [a, b] = [await plain.data(), await cast.data()];
    for (let i = 0; i < a.length; i++) {
      assert.notEqual(a[i], b[i], 'nothing was rounded');
      assert.ok(Math.abs(Number(a[i]) - Number(b[i])) < 2e-3);
    }
    const rounded = (await layer.weight.grad?.data()) as Float32Array;
    assert.ok(rounded.some((v, i) => v !== grad[i]));
    for (let i = 0; i < grad.length; i++) assert.ok(Math.abs(rounded[i] - grad[i]) < 2e-3);
    for (const t of [plain, cast, x]) t.dispose();
    layer.dispose();
  });

  it('takes the copies that the optimiser writes instead of casts, as long as they hold', async () => {
    const layer = new Linear(new Builder({ backend: half, generator: new Generator(1) }), 8, 4);
    const x = tensor(new Generator(2).normal(16), { shape: [2, 8], backend: half });
    const optimiser = new AdamW([...layer.namedParameters()], { lr: 0.1, halfCopies: true });
    /** The result of a product, and how many parameters were cast for it. */
    const product = async (train = false) => {
      let casts = 0;
      const remove = intercept(ORDER.profiler, (call, next) => {
        const { dtype } = call.attrs as { dtype?: string };
        if (dtype === 'float16' && call.inputs[0]?.storage === layer.weight.storage) casts++;
        return next(call);
      });
      try {
        const y = scope(() => {
          const out = autocast(half, () => layer.forward(x));
          if (train) mul(sum(mul(out, out)), 8).backward();
          return out.detach();
        });
        const values = [...(await y.data())];
        y.dispose();
        return { values, casts };
      } finally {
        remove();
      }
    };
    const step = async (): Promise<number> => {
      const norm = optimiser.step({ scale: 8 });
      optimiser.zeroGrad();
      const value = await (norm as Tensor).item();
      norm?.dispose();
      return value;
    };
    const before = await product(true);
    assert.ok((await step()) > 0);
    const after = await product(true);
    assert.notDeepEqual(after.values, before.values);
    assert.deepEqual([before.casts, after.casts], [1, 0]);
    // Without copies the weights are rounded to the same.
    const weight = [...(await layer.weight.data())] as number[];
    const changed = tensor(
      weight.map((w) => w + 1),
      { shape: [4, 8], backend: half },
    );
    const same = tensor(weight, { shape: [4, 8], backend: half });
    assign(layer.weight, changed);
    const other = await product();
    assign(layer.weight, same);
    const again = await product();
    assert.deepEqual([other.casts, again.casts], [1, 1]);
    assert.notDeepEqual(other.values, after.values);
    assert.deepEqual(again.values, after.values);
    // A step that is left out changes neither.
    const infinite = tensor(Array(32).fill(Number.POSITIVE_INFINITY), { shape: [4, 8], backend: half });
    layer.zeroGrad();
    layer.weight.grad = infinite;
    assert.equal(await step(), Number.POSITIVE_INFINITY);
    optimiser.takeBack();
    assert.equal(optimiser.steps, 1);
    assert.deepEqual(optimiser.stepCounts().get('weight'), 1);
    const left = await product();
    assert.deepEqual(left.values, after.values);
    assert.equal(left.casts, 0);
    optimiser.dispose();
    assert.equal((await product()).casts, 1);
    for (const t of [x, changed, same]) t.dispose();
    layer.dispose();
  });
});

/** Captured steps on backends that only check, and on the GPU where they are replayed. */
import '../../core/methods.js';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import { createBackend } from '../../backends/webgpu/index.js';
import type { Backend } from '../../core/backend.js';
import { capture } from '../../core/capture.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { keep, scope } from '../../core/memory.js';
import { add, affine, assign, dropout, exp, mul, ones, sum, zeros } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';
import { withoutLeak } from '../support/values.js';

const gpu = await gpuOrReason();

/** A test on the GPU, where steps are replayed, and one on wasm, where they only run. */
function testBoth(title: string, run: (backend: Backend) => void | Promise<void>): void {
  const on = (name: string, backend: () => Backend | Promise<Backend>, skip: string | false) =>
    test(`${title} (${name})`, { skip }, async () => {
      const b = await backend();
      setDefaultBackend(b);
      await withoutLeak(b, () => run(b));
    });
  on('wasm', () => loadBackend('wasm', { threads: 1 }), false);
  on('webgpu', () => gpu as Backend, typeof gpu === 'string' && gpu);
}

/** The values of a tensor, which is freed. */
async function taken(t: Tensor): Promise<number[]> {
  try {
    return Array.from(await t.data());
  } finally {
    t.dispose();
  }
}

const failsWith = (fn: () => unknown, pattern: RegExp) =>
  assert.throws(fn, (e: Error) => {
    assert.ok(e instanceof InputError, String(e.stack));
    assert.match(e.message, pattern);
    // One sentence.
    assert.match(e.message, /^[A-Z][^\n]*\.$/);
    return true;
  });

const isReplayed = (backend: Backend): boolean => backend.record !== undefined;

testBoth('a step gives the same eager, recorded and replayed, for values that change', async (backend) => {
  const weight = tensor([1, -2, 3, 0.5]);
  const fn = (x: Tensor, y: Tensor) => {
    const h = exp(mul(x, weight));
    return { sum: add(h, y), parts: [h.neg(), null, weight] as const, name: 'step' };
  };
  const step = capture(fn);
  let ran = 0;
  const counted = capture((x: Tensor) => {
    ran++;
    return affine(x, 2, 1);
  });
  for (let i = 0; i < 5; i++) {
    const x = tensor([i, 0.1 * i, -i, 1 / (i + 1)]);
    const y = tensor([1, 2, 3, i]);
    const [got, wanted] = [step(x, y), scope(() => fn(x, y))];
    assert.equal(got.name, 'step');
    assert.deepEqual(await taken(got.sum), await taken(wanted.sum));
    assert.deepEqual(await taken(got.parts[0]), await taken(wanted.parts[0]));
    assert.equal(got.parts[1], null);
    assert.deepEqual(await taken(got.parts[2]), [1, -2, 3, 0.5]);
    assert.deepEqual(await taken(counted(x)), Array.from(await taken(affine(x, 2, 1))));
    for (const t of [x, y]) t.dispose();
  }
  assert.equal(ran, isReplayed(backend) ? 2 : 5);
  assert.equal(step.recording === null, !isReplayed(backend));
  if (step.recording) assert.ok(step.recording.commands >= 4);
  for (const s of [step, counted]) s.dispose();
  failsWith(() => counted(weight), /disposed of/);
  weight.dispose();
});

testBoth('results stay what they were when the step runs again', async () => {
  const step = capture((x: Tensor) => affine(x, 3, 0));
  const results: Tensor[] = [];
  for (let i = 0; i < 4; i++) {
    const x = tensor([i, i + 1]);
    results.push(step(x));
    x.dispose();
  }
  step.dispose();
  for (const [i, r] of results.entries()) assert.deepEqual(await taken(r), [3 * i, 3 * i + 3]);
});

testBoth('views are taken as arguments and given as results', async () => {
  const step = capture((x: Tensor) => x.transpose(0, 1));
  const base = tensor([
    [1, 2, 3],
    [4, 5, 6],
    [7, 8, 9],
  ]);
  for (let i = 0; i < 4; i++) {
    const row = base.slice(0, i % 2, (i % 2) + 2);
    const y = step(row);
    row.dispose();
    assert.deepEqual(y.shape, [3, 2]);
    assert.deepEqual(await taken(y), i % 2 ? [4, 7, 5, 8, 6, 9] : [1, 4, 2, 5, 3, 6]);
  }
  for (const t of [step, base]) t.dispose();
});

testBoth('host values inside a step are constants, also where their memory is used again', async () => {
  const step = capture((x: Tensor) => {
    const first = scope(() => mul(x, tensor([1, 2, 3, 4])));
    const second = scope(() => add(first, tensor([10, 20, 30, 40])));
    return scope(() => mul(second, tensor([1, 1, 1, 2])));
  });
  for (let i = 0; i < 5; i++) {
    const x = ones([4]);
    assert.deepEqual(await taken(step(x)), [11, 22, 33, 88]);
    x.dispose();
  }
  step.dispose();
});

testBoth('a step writes into no memory but its own', async () => {
  const step = capture((x: Tensor) => scope(() => exp(affine(mul(x, x), 0.5, 0))));
  const x = ones([4]);
  for (let i = 0; i < 3; i++) step(x).dispose();
  // They would get what the step has freed.
  const others = Array.from({ length: 6 }, () => ones([4]));
  for (let i = 0; i < 3; i++) assert.deepEqual(await taken(step(x)), await taken(scope(() => exp(affine(x, 0.5, 0)))));
  for (const t of others) assert.deepEqual(await taken(t), [1, 1, 1, 1]);
  for (const t of [step, x]) t.dispose();
});

testBoth('what a step writes in place goes on, and mixes with eager runs', async () => {
  const [a, b] = [0, 1].map(() => tensor([1, 2, 3]));
  const into = (state: Tensor) => (x: Tensor) => {
    scope(() => assign(state, add(affine(state, 0.9, 0), x)));
    return affine(state, 1, 0);
  };
  const step = capture(into(a));
  for (let i = 0; i < 7; i++) {
    const x = tensor([i, 1, -i]);
    const got = i === 5 ? into(a)(x) : step(x);
    assert.deepEqual(await taken(got), await taken(into(b)(x)));
    x.dispose();
  }
  for (const t of [step, a, b]) t.dispose();
});

testBoth('backward learns that a step has written over what it needs', () => {
  const state = ones([2]);
  const step = capture((x: Tensor) => assign(state, x));
  const x = ones([2]);
  for (let i = 0; i < 3; i++) step(x);
  const leaf = ones([2]).requireGrad();
  const loss = scope(() => sum(mul(leaf, state)));
  step(x);
  assert.throws(() => backward(loss), /changed in place/);
  for (const t of [step, x, leaf, loss, state]) t.dispose();
});

testBoth('random numbers go on as if every step had run, and so does the generator', async () => {
  const [captured, eager] = [5, 5].map((seed) => new Generator(seed));
  const make = (generator: Generator) => (x: Tensor) => {
    const y = dropout(x, 0.3, { generator });
    const factors = fresh(() => tensor(generator.uniform(8)));
    return dropout(mul(y, factors), 0.2, { generator });
  };
  const step = capture((x: Tensor) => scope(() => make(captured)(x)));
  const x = ones([8]);
  for (let i = 0; i < 6; i++) {
    // Other numbers in between, by someone else.
    if (i === 4) for (const g of [captured, eager]) g.words(9);
    assert.deepEqual(await taken(step(x)), await taken(scope(() => make(eager)(x))));
    assert.deepEqual(captured.state(), eager.state());
  }
  for (const t of [step, x]) t.dispose();
});

testBoth('arguments must stay what they were', () => {
  const step = capture((x: Tensor) => affine(x, 2, 0));
  const x = ones([2, 3]);
  const other = ones([3, 2]);
  const whole = ones([2, 3], { dtype: 'int32' });
  const leaf = ones([2, 3]).requireGrad();
  for (let i = 0; i < 3; i++) {
    step(x).dispose();
    failsWith(() => step(other), /captured with float32\[2, ?3\] as argument 1, got float32\[3, ?2\]/);
    failsWith(() => step(whole), /got int32/);
    failsWith(() => step(leaf), /collects gradients/);
    failsWith(() => (step as unknown as (...t: Tensor[]) => Tensor)(x, x), /with 1 arguments, got 2/);
  }
  other.dispose();
  assert.throws(() => step(other), /used after it was freed/);
  for (const t of [step, x, whole, leaf]) t.dispose();
});

testBoth('an argument on another backend is refused', async () => {
  const step = capture((x: Tensor) => affine(x, 2, 0));
  const x = ones([2]);
  const elsewhere = ones([2], { backend: await loadBackend('reference') });
  step(x).dispose();
  failsWith(() => step(elsewhere), /got float32\[2\] on reference/);
  for (const t of [step, x, elsewhere]) t.dispose();
});

testBoth('reading while a step is captured is refused, at once', async (backend) => {
  const x = ones([2]);
  const reads: ((t: Tensor) => unknown)[] = [(t) => t.data(), (t) => t.item(), (t) => t.toArray()];
  if (isReplayed(backend)) reads.push(() => backend.sync());
  for (const read of reads) {
    for (const swallows of [false, true]) {
      let calls = 0;
      const step = capture((t: Tensor) => {
        // The second run is the one that is recorded.
        if (calls++ === 0) return affine(t, 2, 0);
        try {
          read(t);
        } catch (error) {
          if (!swallows) throw error;
        }
        return affine(t, 2, 0);
      });
      step(x).dispose();
      failsWith(() => step(x), /was read \((data|item|toArray|sync)\) inside a captured step/);
      step.dispose();
    }
  }
  assert.deepEqual(await taken(x), [1, 1]);
});

testBoth('a tensor that was freed or replaced is missed', (backend) => {
  let weight = ones([2]);
  const step = capture((x: Tensor) => mul(x, weight));
  const x = ones([2]);
  for (let i = 0; i < 3; i++) step(x).dispose();
  weight.dispose();
  weight = zeros([2]);
  if (isReplayed(backend))
    failsWith(() => step(x), /uses float32\[2\] \(an operand of mul\), which was freed or replaced/);
  for (const t of [step, x, weight]) t.dispose();
});

testBoth('an argument must not be what the step writes', () => {
  const state = ones([2]);
  const step = capture((x: Tensor) => {
    assign(state, x);
    return affine(x, 2, 0);
  });
  const x = ones([2]);
  for (let i = 0; i < 3; i++) {
    step(x).dispose();
    if (i === 2) failsWith(() => step(state), /Argument 1 .* shares memory with what the step writes/);
  }
  const writer = capture((t: Tensor) => assign(t, x));
  failsWith(() => writer(state), /as an argument and writes into it/);
  for (const t of [step, writer, x, state]) t.dispose();
});

testBoth('a number that changes between calls is named', () => {
  let i = 1;
  const x = ones([2]);
  const scaled = capture((t: Tensor) => affine(t, i, 0));
  const added = capture((t: Tensor) => scope(() => add(t, tensor([i, 0]))));
  const returned = capture((t: Tensor) => ({ y: affine(t, 2, 0), i }));
  for (const step of [scaled, added]) step(x).dispose();
  returned(x).y.dispose();
  i = 2;
  failsWith(() => scaled(x), /of affine was 1 and is 2/);
  failsWith(() => added(x), /values of tensor was/);
  failsWith(() => returned(x), /of the result was 1 and is 2/);
  for (const t of [scaled, added, returned, x]) t.dispose();
});

testBoth('a step that does other things in each call is refused', () => {
  const x = ones([2]);
  let n = 0;
  const step = capture((t: Tensor) => {
    let y = t;
    for (let i = 0; i <= n; i++) y = affine(y, 2, 0);
    n++;
    return y;
  });
  for (let i = 0; i < 3; i++) step(x).dispose();
  failsWith(() => step(x), /must do the same in each call, but affine\(float32\[2\]\) follows where nothing did/);
  for (const t of [step, x]) t.dispose();
});

testBoth('what a step leaves behind, frees or draws on the host is told', () => {
  const x = ones([2]);
  const left: Tensor[] = [];
  const leaving = capture((t: Tensor) => {
    left.push(keep(affine(t, 2, 0)));
  });
  leaving(x);
  failsWith(() => leaving(x), /left a tensor behind/);
  const olds = [ones([2]), ones([2])];
  const freeing = capture((t: Tensor) => {
    const old = olds.pop() as Tensor;
    const y = add(t, old);
    old.dispose();
    return y;
  });
  freeing(x).dispose();
  failsWith(() => freeing(x), /freed float32\[2\] \(an operand of add\)/);
  const generator = new Generator(3);
  const drawing = capture((t: Tensor) => scope(() => mul(t, tensor(generator.uniform(2)))));
  failsWith(() => drawing(x), /drawn on the host/);
  const seeding = capture((t: Tensor) => {
    const y = scope(() => dropout(t, 0.5, { generator }));
    return scope(() => dropout(y, 0.5, { generator: generator.manualSeed(1) }));
  });
  failsWith(() => seeding(x), /seeded inside/);
  for (const t of [leaving, freeing, drawing, seeding, x, ...left]) t.dispose();
});

testBoth('nested, asynchronous and failing steps leave nothing captured and nothing behind', async (backend) => {
  const x = ones([2]);
  const inner = capture((t: Tensor) => affine(t, 2, 0));
  const outer = capture((t: Tensor) => inner(t));
  failsWith(() => outer(x), /called inside another/);
  const waiting = capture(async (t: Tensor) => {
    await t.data();
  });
  failsWith(() => waiting(x), /synchronous function/);
  const odd = capture(() => new Date(0));
  failsWith(() => odd(), /got Date/);
  let fails = false;
  const failing = capture((t: Tensor) => {
    const y = affine(t, 2, 0);
    if (fails) throw new RangeError('mine');
    return y;
  });
  failing(x).dispose();
  fails = true;
  const { liveBytes } = backend.stats;
  assert.throws(() => failing(x), /mine/);
  // The copy of the argument went back, too.
  assert.ok(backend.stats.liveBytes < liveBytes);
  fails = false;
  for (let i = 0; i < 3; i++) assert.deepEqual(await taken(failing(x)), [2, 2]);
  for (const t of [inner, outer, waiting, odd, failing, x]) t.dispose();
});

test('scalars that do not travel with the dispatch change, too', { skip: typeof gpu === 'string' && gpu }, async () => {
  const backend = await createBackend({ adapter: ADAPTER, without: ['immediates'] });
  setDefaultBackend(backend);
  try {
    await withoutLeak(backend, async () => {
      const [captured, eager] = [5, 5].map((seed) => new Generator(seed));
      const make = (generator: Generator) => (x: Tensor) =>
        scope(() => dropout(dropout(affine(x, 2, 1), 0.3, { generator }), 0.2, { generator }));
      const step = capture(make(captured));
      const x = ones([50]);
      for (let i = 0; i < 5; i++) assert.deepEqual(await taken(step(x)), await taken(make(eager)(x)));
      for (const t of [step, x]) t.dispose();
    });
  } finally {
    await backend.dispose();
  }
});

test('no buffer grows over 1,000 replays', { skip: typeof gpu === 'string' && gpu }, async () => {
  const backend = gpu as Backend;
  setDefaultBackend(backend);
  await withoutLeak(backend, async () => {
    const state = zeros([64]);
    const generator = new Generator(1);
    const step = capture((x: Tensor) => {
      scope(() => assign(state, add(affine(state, 0.5, 0), dropout(x, 0.5, { generator }))));
      return affine(state, 1, 0);
    });
    const x = ones([64]);
    const held = () => [backend.stats.liveBytes, backend.stats.liveBlocks, backend.stats.peakBytes];
    for (let i = 0; i < 10; i++) step(x).dispose();
    const before = held();
    for (let i = 0; i < 1000; i++) step(x).dispose();
    assert.deepEqual(held(), before);
    for (const t of [step, x, state]) t.dispose();
  });
});

after(async () => {
  for (const name of ['wasm', 'reference', 'webgpu']) await disposeBackend(name);
});

/** Captured training steps: optimisers, what changes from step to step, and what must not. */
import '../../core/methods.js';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { capture } from '../../core/capture.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { mean, mul, sub } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { GradScaler } from '../../nn/amp.js';
import { Builder } from '../../nn/builder.js';
import { Linear, Sequential, Tanh } from '../../nn/layers.js';
import { AdamW, SGD, type StepOptions } from '../../nn/optim.js';
import { gpuOrReason } from '../support/gpu.js';
import { withoutLeak } from '../support/values.js';

const gpu = await gpuOrReason();

function testBoth(title: string, run: (backend: Backend) => void | Promise<void>): void {
  for (const name of ['wasm', 'webgpu']) {
    test(`${title} (${name})`, { skip: name === 'webgpu' && typeof gpu === 'string' && gpu }, async () => {
      const backend = name === 'wasm' ? await loadBackend('wasm', { threads: 1 }) : (gpu as Backend);
      setDefaultBackend(backend);
      await withoutLeak(backend, () => run(backend));
    });
  }
}

const model = () => {
  const b = new Builder({ generator: new Generator(4) });
  return new Sequential(new Linear(b.at('0'), 3, 8), new Tanh(), new Linear(b.at('2'), 8, 1));
};
type Optimiser = AdamW | SGD;

/** A step of least squares; its loss and the norm of its gradients. */
const stepOf =
  (net: Sequential, optimiser: Optimiser, options?: StepOptions, clears = true) =>
  (x: Tensor, y: Tensor): { loss: Tensor; norm: Tensor | null } => {
    const error = sub(net.forward(x), y);
    const loss = mean(mul(error, error));
    backward(loss);
    const norm = optimiser.step(options);
    if (clears) optimiser.zeroGrad();
    return { loss, norm };
  };

function batch(i: number): [Tensor, Tensor] {
  const random = new Generator(50 + i);
  return [tensor(random.normal(12), { shape: [4, 3] }), tensor(random.normal(4), { shape: [4, 1] })];
}

/** Values of all tensors by name, read. */
async function valuesOf(tensors: Iterable<readonly [string, Tensor]>): Promise<Record<string, number[]>> {
  const out: Record<string, number[]> = {};
  for (const [name, t] of tensors) out[name] = Array.from(await t.data());
  return out;
}

async function taken(step: { loss: Tensor; norm: Tensor | null }): Promise<(number | null)[]> {
  const out = [await step.loss.item(), (await step.norm?.item()) ?? null];
  step.loss.dispose();
  step.norm?.dispose();
  return out;
}

const makers: Record<string, (net: Sequential) => Optimiser> = {
  adamw: (net) =>
    new AdamW([
      { parameters: [...net.namedParameters()].filter(([, p]) => p.rank > 1), weightDecay: 0.1 },
      { parameters: [...net.namedParameters()].filter(([, p]) => p.rank === 1), lrScale: 0.5 },
    ]),
  sgd: (net) => new SGD(net.namedParameters(), { lr: 0.05, momentum: 0.9, nesterov: true }),
};

for (const [name, make] of Object.entries(makers)) {
  testBoth(`${name}: captured steps are the eager ones, also when they take turns`, async () => {
    const nets = [model(), model()];
    const [captured, eager] = nets.map(make);
    const steps = [captured, eager].map((optimiser, i) => stepOf(nets[i], optimiser, { maxNorm: 0.5 }));
    const replayed = capture(steps[0]);
    for (let i = 0; i < 9; i++) {
      const [x, y] = batch(i);
      // The learning rate of AdamW is followed.
      if (name === 'adamw') captured.lr = eager.lr = 0.01 * (i + 1);
      // An eager step among the replayed ones.
      const got = i === 6 ? scope(() => steps[0](x, y)) : replayed(x, y);
      assert.deepEqual(await taken(got), await taken(scope(() => steps[1](x, y))));
      for (const t of [x, y]) t.dispose();
    }
    assert.equal(captured.steps, 9);
    assert.deepEqual(captured.stepCounts(), eager.stepCounts());
    assert.deepEqual(await valuesOf(nets[0].namedParameters()), await valuesOf(nets[1].namedParameters()));
    assert.deepEqual(await valuesOf(captured.stateDict()), await valuesOf(eager.stateDict()));
    for (const t of [replayed, captured, eager, ...nets]) t.dispose();
  });
}

testBoth('a loss scale is followed, and steps that overflow are left out', async () => {
  const nets = [model(), model()];
  const optimisers = nets.map((net) => new AdamW(net.namedParameters()));
  const scalers = nets.map(() => new GradScaler({ scale: 2 ** 10, growthInterval: 3 }));
  const steps = nets.map((net, i) => (x: Tensor, y: Tensor) => {
    const error = sub(net.forward(x), y);
    const loss = mean(mul(error, error));
    backward(scalers[i].scaleLoss(loss, 2));
    const norm = optimisers[i].step({ maxNorm: 0.5, scale: () => scalers[i].scale }) as Tensor;
    optimisers[i].zeroGrad();
    return { loss, norm };
  });
  const replayed = capture(steps[0]);
  const made: boolean[] = [];
  for (let i = 0; i < 10; i++) {
    const [x, y] = batch(i);
    // Too large twice, once among the replayed.
    if (i === 1 || i === 6) for (const s of scalers) s.restore({ scale: 2 ** 127, growthTracker: 0 });
    if (i === 2 || i === 7) for (const s of scalers) s.restore({ scale: 2 ** 8, growthTracker: 0 });
    const results = [replayed(x, y), scope(() => steps[1](x, y))];
    const [got, wanted] = [await taken(results[0]), await taken(results[1])];
    assert.deepEqual(got, wanted);
    const holds = Number.isFinite(got[1]);
    made.push(holds);
    for (const k of [0, 1]) {
      if (!holds) optimisers[k].takeBack();
      scalers[k].update(holds);
    }
    for (const t of [x, y]) t.dispose();
  }
  assert.deepEqual(
    made.flatMap((holds, i) => (holds ? [] : [i])),
    [1, 6],
  );
  assert.deepEqual(scalers[0].state(), scalers[1].state());
  assert.deepEqual(optimisers[0].stepCounts(), optimisers[1].stepCounts());
  assert.equal(optimisers[0].steps, 8);
  assert.deepEqual(await valuesOf(nets[0].namedParameters()), await valuesOf(nets[1].namedParameters()));
  for (const t of [replayed, ...optimisers, ...nets]) t.dispose();
});

testBoth('a learning rate that is given by value must not change, and gradients must not stay', (backend) => {
  const [x, y] = batch(0);
  const run = (step: (x: Tensor, y: Tensor) => { loss: Tensor; norm: Tensor | null }) => {
    const { loss, norm } = step(x, y);
    loss.dispose();
    norm?.dispose();
  };
  const refused = (step: Parameters<typeof run>[0], calls: number, pattern: RegExp) => {
    for (let i = 0; i < calls; i++) run(step);
    assert.throws(
      () => run(step),
      (e: Error) => e instanceof InputError && pattern.test(e.message),
    );
  };
  const net = model();
  const optimiser = new AdamW(net.namedParameters());
  let lr = 0;
  const byValue = capture((a: Tensor, b: Tensor) => {
    lr += 0.1;
    return stepOf(net, optimiser, { lr })(a, b);
  });
  refused(byValue, 2, /lr of adamwStep was 0.2 and is 0.3/);
  const sgd = new SGD(net.namedParameters());
  const changing = capture(stepOf(net, sgd));
  run(changing);
  sgd.lr *= 2;
  refused(changing, 0, /of affine was -0.01 and is -0.02/);
  optimiser.zeroGrad();
  const leaving = capture(stepOf(net, optimiser, {}, false));
  refused(leaving, 2, /left \d tensors behind/);
  optimiser.zeroGrad();
  if (backend.record) {
    const captured = capture(stepOf(net, optimiser));
    for (let i = 0; i < 3; i++) run(captured);
    const [[first], [second]] = net.namedParameters();
    optimiser.loadStateDict(
      optimiser.stateDict(),
      new Map([
        [first, 2],
        [second, 5],
      ]),
    );
    refused(captured, 0, /different numbers of steps/);
    captured.dispose();
  }
  for (const t of [byValue, changing, leaving, optimiser, sgd, net, x, y]) t.dispose();
});

after(async () => {
  for (const name of ['wasm', 'webgpu']) await disposeBackend(name);
});

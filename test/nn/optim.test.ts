/** Optimisers against numbers of torch.optim, with gradients that are missing in some steps. */
import assert from 'node:assert/strict';
import '../../index.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { add, assign, mul, sum } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { Builder, type Parameter } from '../../nn/builder.js';
import { EMA } from '../../nn/ema.js';
import { ones } from '../../nn/init.js';
import { Linear } from '../../nn/layers.js';
import { AdamW, clipGradNorm, type ParameterGroup, SGD, type StepOptions } from '../../nn/optim.js';
import { testEach, testOn } from '../support/backends.js';
import { assertClose } from '../support/compare.js';
import { readJson } from '../support/fixtures.js';
import { PYTORCH } from '../support/tolerance.js';

interface Case {
  readonly maxNorm: number;
  readonly steps: readonly { readonly parameters: number[][]; readonly norm: number | null }[];
}
interface Fixture {
  readonly shapes: number[][];
  readonly start: number[][];
  /** By step and parameter; null: the parameter has no gradient in this step. */
  readonly grads: (number[] | null)[][];
  readonly lrs: number[];
  readonly adamw: readonly Case[];
  readonly sgd: readonly (Case & {
    readonly momentum: number;
    readonly nesterov: boolean;
    readonly weightDecay: number;
  })[];
}
const torch = await readJson<Fixture>('optimizers.json');
const BETAS: readonly [number, number] = [0.9, 0.98];

const startParameters = (values = torch.start): Parameter[] => {
  const b = new Builder();
  return torch.shapes.map((shape, i) => b.parameter(shape, () => new Float32Array(values[i])));
};

/** The groups of the fixture: half the learning rate on the first, weight decay as given. */
const groupsOf = ([a, b]: readonly Parameter[], decay?: readonly [number, number]): ParameterGroup[] => [
  { parameters: [['a', a]], lrScale: 0.5, weightDecay: decay?.[0] },
  { parameters: [['b', b]], weightDecay: decay?.[1] },
];

function giveGradients(parameters: readonly Parameter[], step: number): void {
  parameters.forEach((p, i) => {
    const values = torch.grads[step][i];
    p.grad?.dispose();
    p.grad = values && tensor(values, { shape: p.shape });
  });
}

interface Optimiser {
  step(options?: StepOptions): Tensor | null;
  dispose(): void;
}

/** Takes the steps from `first` on and compares parameters and norms after each. */
async function follow(
  optimiser: Optimiser,
  parameters: readonly Parameter[],
  { maxNorm, steps }: Case,
  first = 0,
): Promise<void> {
  for (let k = first; k < steps.length; k++) {
    giveGradients(parameters, k);
    const norm = optimiser.step({ lr: torch.lrs[k], maxNorm });
    const wanted = steps[k];
    assert.equal(norm === null, wanted.norm === null);
    if (norm) assertClose([await norm.item()], [wanted.norm as number], PYTORCH, `norm at step ${k}`);
    norm?.dispose();
    for (const [i, p] of parameters.entries()) {
      assertClose(await p.data(), wanted.parameters[i], PYTORCH, `parameter ${i} after step ${k}`);
    }
  }
}

const freeAll = (things: readonly { dispose(): void }[]) => {
  for (const t of things) t.dispose();
};

for (const wanted of torch.adamw) {
  testEach(`AdamW with groups is torch's, clipped at ${wanted.maxNorm}`, async () => {
    const parameters = startParameters();
    const adamw = new AdamW(groupsOf(parameters, [0.1, 0]), { betas: BETAS });
    await follow(adamw, parameters, wanted);
    assert.equal(adamw.steps, 5);
    // Steps without gradient do not count for the correction of the moments.
    assert.deepEqual([...adamw.stepCounts()].sort(), [
      ['a', 4],
      ['b', 4],
    ]);
    freeAll([adamw, ...parameters]);
  });
}

for (const wanted of torch.sgd) {
  const { momentum, nesterov, weightDecay, maxNorm } = wanted;
  testEach(`SGD is torch's: ${JSON.stringify({ momentum, nesterov, weightDecay, maxNorm })}`, async () => {
    const parameters = startParameters();
    const sgd = new SGD(groupsOf(parameters), { momentum, nesterov, weightDecay });
    await follow(sgd, parameters, wanted);
    freeAll([sgd, ...parameters]);
  });
}

const KINDS = {
  adamw: (p: Parameter[]) => new AdamW(groupsOf(p, [0.1, 0]), { betas: BETAS }),
  sgd: (p: Parameter[]) => new SGD(groupsOf(p), { momentum: 0.8, weightDecay: 0.05 }),
};

for (const kind of ['adamw', 'sgd'] as const) {
  testEach(`${kind} goes on from a saved state`, async () => {
    const wanted = kind === 'adamw' ? torch.adamw[1] : torch.sgd[5];
    const parameters = startParameters();
    const first = KINDS[kind](parameters);
    await follow(first, parameters, { ...wanted, steps: wanted.steps.slice(0, 3) });
    // Into one that has a state of its own already.
    const others = startParameters();
    const second = KINDS[kind](others);
    giveGradients(others, 1);
    second.step();
    freeAll(others);
    const restored = startParameters(wanted.steps[2].parameters);
    const third = KINDS[kind](restored);
    giveGradients(restored, 1);
    third.step({ lr: 0 });
    third.loadStateDict(first.stateDict(), first.stepCounts());
    assert.equal(third.steps, 2);
    const [a, b] = [third.stateDict(), first.stateDict()];
    assert.deepEqual([...a.keys()].sort(), [...b.keys()].sort());
    for (const [name, t] of a) assert.deepEqual(await t.data(), await (b.get(name) as Tensor).data());
    await follow(third, restored, wanted, 3);
    freeAll([first, second, third, ...parameters, ...restored]);
  });

  testEach(`${kind} refuses a state of another shape and keeps its own`, async () => {
    const parameters = startParameters();
    const optimiser = KINDS[kind](parameters);
    giveGradients(parameters, 1);
    optimiser.step();
    const before = await Promise.all([...optimiser.stateDict().values()].map((t) => t.data()));
    const name = kind === 'adamw' ? 'b.exp_avg' : 'b.momentum_buffer';
    const wrong = tensor([1]);
    assert.throws(() => optimiser.loadStateDict(new Map([[name, wrong]]), 9), {
      name: InputError.name,
      message: new RegExp(
        `The optimiser state ${name.replace('.', '\\.')} is float32\\[1\\]; expected the shape of float32\\[4\\]`,
      ),
    });
    assert.equal(optimiser.steps, 1);
    const after = await Promise.all([...optimiser.stateDict().values()].map((t) => t.data()));
    assert.deepEqual(after, before);
    freeAll([wrong, optimiser, ...parameters]);
  });
}

testEach('an optimiser without gradients changes nothing', async () => {
  const parameters = startParameters();
  const adamw = new AdamW(groupsOf(parameters, [0.1, 0]));
  assert.equal(adamw.step({ maxNorm: 1 }), null);
  assertClose(await parameters[0].data(), new Float32Array(torch.start[0]), { absolute: 0, relative: 0 }, 'parameter');
  assert.equal(adamw.stateDict().size, 0);
  freeAll(parameters);
});

testEach('zeroGrad frees the gradients', (backend) => {
  const parameters = startParameters();
  const sgd = new SGD(groupsOf(parameters));
  const before = backend.stats.liveBytes;
  giveGradients(parameters, 1);
  assert.ok(backend.stats.liveBytes > before);
  sgd.zeroGrad();
  assert.equal(backend.stats.liveBytes, before);
  freeAll(parameters);
});

testOn('reference', 'optimisers refuse no parameters, and one parameter twice', () => {
  const [a, b] = startParameters();
  assert.throws(() => new SGD([]), /was given no parameters/);
  assert.throws(() => new AdamW([{ parameters: [] }]), /was given no parameters/);
  assert.throws(
    () =>
      new SGD([
        ['a', a],
        ['a', b],
      ]),
    /The parameter a is given to the optimiser twice/,
  );
  assert.throws(
    () =>
      new SGD([
        ['a', a],
        ['b', a],
      ]),
    /The parameter b is given to the optimiser twice/,
  );
  freeAll([a, b]);
});

for (const dtype of ['float16', 'bfloat16'] as const) {
  testEach(`${dtype} parameters: SGD rounds, AdamW asks for a float32 copy`, async () => {
    const p = new Builder({ dtype }).parameter([2], ones);
    p.grad = tensor([0.5, -2], { dtype });
    const sgd = new SGD([['p', p]], { lr: 0.25, momentum: 0.9 });
    sgd.step();
    assert.deepEqual(Array.from(await p.data()), [0.875, 1.5]);
    const adamw = new AdamW([['p', p]]);
    assert.throws(() => adamw.step({ maxNorm: 1 }), /keep a float32 master copy/);
    freeAll([sgd, adamw, p]);
  });
}

testEach('clipGradNorm scales gradients to a joint norm, and leaves smaller ones', async () => {
  const parameters = startParameters();
  for (const [maxNorm, factor] of [
    [1, 1 / (Math.sqrt(3 * 4 + 16) + 1e-6)],
    [100, 1],
  ]) {
    parameters.forEach((p, i) => {
      p.grad?.dispose();
      p.grad = tensor(i === 0 ? [3, 0, 1, 1, -1, 0] : [0, 0, 0, 4], { shape: p.shape });
    });
    const norm = clipGradNorm(parameters, maxNorm);
    assertClose([await norm.item()], [Math.sqrt(28)], PYTORCH, 'norm');
    norm.dispose();
    const wanted = [3, 0, 1, 1, -1, 0].map((v) => v * factor);
    assertClose(await (parameters[0].grad as Tensor).data(), wanted, PYTORCH, 'first');
    assertClose(await (parameters[1].grad as Tensor).data(), [0, 0, 0, 4 * factor], PYTORCH, 'second');
  }
  freeAll(parameters);
  assert.throws(() => clipGradNorm(parameters, 1), /call backward first/);
});

testEach('clipGradNorm: gradients that share memory or repeat one number', async () => {
  const b = new Builder();
  const [x, y] = [b.parameter([4], ones), b.parameter([4], ones)];
  // d/dx and d/dy of a sum are one and the same row of ones.
  scope(() => sum(add(x, y)).backward());
  const norm = clipGradNorm([x, y], 1);
  assertClose([await norm.item()], [Math.sqrt(8)], PYTORCH, 'norm');
  for (const p of [x, y]) {
    assertClose(await (p.grad as Tensor).data(), new Array(4).fill(1 / Math.sqrt(8)), PYTORCH, 'gradient');
  }
  freeAll([norm, x, y]);
});

testEach('EMA follows the weights, lends them and gives them back', async () => {
  const layer = new Linear(new Builder({ generator: new Generator(1) }), 2, 1, {
    weight: () => new Float32Array([1, 2]),
    biasInit: ones,
  });
  const ema = new EMA(layer, 0.75);
  const sgd = new SGD(layer.namedParameters(), { lr: 1 });
  scope(() => sum(layer.forward(tensor([[4, 8]]))).backward());
  sgd.step();
  ema.update();
  // Weights fell by their gradients [4, 8] and 1; the average went a quarter of the way.
  const weights = async () => Array.from(await layer.weight.data());
  assert.deepEqual(await weights(), [-3, -6]);
  assert.deepEqual(Array.from(await (ema.stateDict().get('weight') as Tensor).data()), [0, 0]);
  assert.deepEqual(Array.from(await (ema.stateDict().get('bias') as Tensor).data()), [0.75]);
  assert.deepEqual(await ema.with(weights), [0, 0]);
  assert.deepEqual(await weights(), [-3, -6]);
  await assert.rejects(
    ema.with(() => Promise.reject(new Error('inside'))),
    /inside/,
  );
  assert.deepEqual(await weights(), [-3, -6]);
  assert.deepEqual(Array.from(await (ema.stateDict().get('weight') as Tensor).data()), [0, 0]);
  freeAll([ema, sgd, layer]);
});

testEach('EMA of 16-bit weights moves by small steps, and is not rounded where it lends them', async () => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    const layer = new Linear(new Builder({ dtype }), 1, 1, { weight: ones, bias: false });
    const ema = new EMA(layer, 0.999);
    scope(() => assign(layer.weight, tensor([[2]])));
    const average = async () => (await (ema.stateDict().get('weight') as Tensor).data())[0];
    const wanted = (steps: number) => 2 - 0.999 ** steps;
    for (let i = 0; i < 100; i++) ema.update();
    assert.ok(Math.abs((await average()) - wanted(100)) < 1e-5, `${dtype}: ${await average()}`);
    const lent = await ema.with(async () => (await layer.weight.data())[0]);
    assert.ok(Math.abs(lent - wanted(100)) < 4e-3, `${lent}`);
    assert.equal((await layer.weight.data())[0], 2);
    assert.ok(Math.abs((await average()) - wanted(100)) < 1e-5, 'the average is as it was');
    freeAll([ema, layer]);
  }
});

testEach('an optimiser takes back its own state', async () => {
  const makers = [
    (p: Parameter) => new AdamW([['p', p]], { lr: 0.1 }),
    (p: Parameter) => new SGD([['p', p]], { lr: 0.1, momentum: 0.9 }),
  ];
  for (const make of makers) {
    const p = new Builder().parameter([2], ones);
    const optimiser = make(p);
    scope(() => sum(mul(p, p)).backward());
    optimiser.step();
    const values = () => Promise.all([...optimiser.stateDict()].map(async ([n, t]) => [n, Array.from(await t.data())]));
    const before = await values();
    assert.ok(before.length > 0);
    optimiser.loadStateDict(optimiser.stateDict(), optimiser.stepCounts());
    assert.deepEqual(await values(), before);
    assert.deepEqual([...optimiser.stepCounts()], [['p', 1]]);
    optimiser.loadStateDict(new Map(), 0);
    assert.equal(optimiser.stateDict().size, 0);
    freeAll([optimiser, p]);
  }
});

testEach('an optimiser finds the least squares line', async () => {
  const b = new Builder({ generator: new Generator(5) });
  const layer = new Linear(b, 1, 1);
  const adamw = new AdamW(layer.namedParameters(), { lr: 0.1, weightDecay: 0 });
  const [x, y] = [tensor([[-1], [0], [1], [2]]), tensor([[-1], [1], [3], [5]])];
  for (let i = 0; i < 200; i++) {
    scope(() => {
      const error = layer.forward(x).sub(y);
      sum(mul(error, error)).backward();
    });
    adamw.step();
    adamw.zeroGrad();
  }
  assertClose(await layer.weight.data(), [2], { absolute: 1e-2, relative: 0 }, 'slope');
  assertClose(await (layer.bias as Parameter).data(), [1], { absolute: 1e-2, relative: 0 }, 'offset');
  freeAll([adamw, layer, x, y]);
});

/** Moments of the optimiser wait outside of the wasm memory where it is full. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBackend } from '../../backends/wasm/index.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { mul, sum } from '../../core/ops/index.js';
import { manualSeed } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { Builder, type Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { AdamW } from '../../nn/optim.js';
import '../../autograd/index.js';

const MIB = 2 ** 20;
/** Elements of parameters: some of 4 MiB and more, numbers that pieces do not divide, and small ones. */
const SIZES = [MIB, 1_200_003, 1_400_001, MIB, 1_200_003, 1_400_001, 5, 1];

interface Trained {
  readonly weights: readonly Float32Array[];
  readonly moments: ReadonlyMap<string, Float32Array>;
  /** Bytes given out at most. */
  readonly peak: number;
}

/** Trains weights of 29 MiB, which with gradients and moments take 116, and with the activations of a step up to 140. */
async function train(memoryBytes: number | undefined, threads: number, steps = 4): Promise<Trained> {
  const backend = await createBackend({ threads, memoryBytes });
  const before = setDefaultBackend(backend);
  try {
    manualSeed(3);
    const b = new Builder();
    const named = SIZES.map((size, i) => [`p${i}`, b.at(i).parameter([size], init.uniform(-1, 1))] as const);
    const optimiser = new AdamW(named, { lr: 0.1, weightDecay: 0.1 });
    const step = async (): Promise<void> => {
      for (const [i, [, p]] of named.entries()) scope(() => sum(mul(p, mul(p, i + 1))).backward());
      optimiser.step({ maxNorm: 1 })?.dispose();
      optimiser.zeroGrad();
    };
    for (let i = 0; i < steps; i++) await step();
    const moments = new Map<string, Float32Array>();
    const saved = optimiser.stateDict();
    for (const [name, t] of saved) moments.set(name, (await t.data()) as Float32Array);
    // What is parked can be read by any op, and be taken over.
    const [first] = [...saved.values()];
    const total = scope(() => sum(first));
    assert.ok(
      Math.abs((await total.item()) - (moments.get('p0.exp_avg') as Float32Array).reduce((a, x) => a + x, 0)) < 1,
    );
    total.dispose();
    optimiser.loadStateDict(saved, optimiser.stepCounts());
    await step();
    const weights: Float32Array[] = [];
    for (const [, p] of named) weights.push((await p.data()) as Float32Array);
    optimiser.dispose();
    for (const [, p] of named as readonly (readonly [string, Parameter & Tensor])[]) p.dispose();
    assert.deepEqual([backend.stats.liveBytes, backend.stats.liveBlocks], [0, 0]);
    return { weights, moments, peak: backend.stats.peakBytes };
  } finally {
    setDefaultBackend(before);
    await backend.dispose();
  }
}

test('a training whose moments do not fit goes to the same numbers as one with room', async () => {
  const whole = await train(undefined, 1);
  // Room for weights, gradients and activations, and for part of the moments.
  const memory = 118 * MIB;
  assert.ok(whole.peak > memory + 16 * MIB, `${whole.peak / MIB} MiB`);
  for (const threads of [1, 2]) {
    const cramped = await train(memory, threads);
    assert.deepEqual([...cramped.moments.keys()], [...whole.moments.keys()]);
    for (const [i, values] of cramped.weights.entries()) assert.deepEqual(values, whole.weights[i], `weight ${i}`);
    for (const [name, values] of cramped.moments) assert.deepEqual(values, whole.moments.get(name), name);
  }
});

test('what else does not fit is still refused in a sentence', async () => {
  await assert.rejects(
    train(64 * MIB, 1, 1).then(() => train(20 * MIB, 1, 1)),
    (error) => error instanceof InputError && /asked for [\d.]+ MB more than fit into its memory/.test(error.message),
  );
});

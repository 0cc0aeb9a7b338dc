/** Activation checkpointing: the same numbers with less memory. */
import assert from 'node:assert/strict';
import '../../index.js';
import { backward } from '../../autograd/backward.js';
import { checkpoint } from '../../autograd/custom.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { gelu, mul, sum } from '../../core/ops/index.js';
import { defaultGenerator, Generator, manualSeed } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';
import { Dropout, DropPath, LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { testEach } from '../support/backends.js';
import { assertClose } from '../support/compare.js';

const [ROWS, WIDTH, DEPTH] = [32, 16, 4];

class Block extends Module {
  readonly norm: LayerNorm;
  readonly up: Linear;
  readonly down: Linear;
  readonly dropout = new Dropout(0.3);
  readonly dropPath = new DropPath(0.3);

  constructor(b: Builder) {
    super();
    this.norm = new LayerNorm(b, WIDTH);
    this.up = new Linear(b, WIDTH, 4 * WIDTH);
    this.down = new Linear(b, 4 * WIDTH, WIDTH);
  }

  forward(x: Tensor): Tensor {
    const hidden = this.dropout.forward(gelu(this.up.forward(this.norm.forward(x))));
    return x.add(this.dropPath.forward(this.down.forward(hidden)));
  }
}

class Net extends Module {
  readonly blocks: readonly Block[];
  constructor(b: Builder) {
    super();
    this.blocks = Array.from({ length: DEPTH }, () => new Block(b));
  }

  /** `segments` says how the blocks are run: one call each, or nested. */
  loss(x: Tensor, how: 'plain' | 'checkpointed' | 'nested'): Tensor {
    const run = (input: Tensor, [block, ...rest]: readonly Block[]): Tensor => {
      if (!block) return input;
      if (how === 'plain') return run(block.forward(input), rest);
      if (how === 'checkpointed')
        return run(
          checkpoint((h) => block.forward(h), input),
          rest,
        );
      return checkpoint((h) => run(block.forward(h), rest), input);
    };
    const y = run(x, this.blocks);
    return sum(mul(y, y));
  }
}

/** Loss and gradients by name, with masks from one seed, and the memory at its highest. */
async function train(how: 'plain' | 'checkpointed' | 'nested') {
  const net = new Net(new Builder({ generator: new Generator(1) }));
  const x = tensor(new Generator(2).normal(ROWS * WIDTH), { shape: [ROWS, WIDTH], requiresGrad: true });
  manualSeed(3);
  const before = x.backend.stats.liveBytes;
  const loss = scope(() => net.loss(x, how));
  const kept = x.backend.stats.liveBytes - before;
  const after = defaultGenerator().state();
  backward(loss);
  assert.deepEqual(defaultGenerator().state(), after, 'backward leaves the random numbers where they were');
  const grads: Record<string, ArrayLike<number>> = { x: await (x.grad as Tensor).data() };
  for (const [name, p] of net.namedParameters()) grads[name] = await (p.grad as Tensor).data();
  const value = await loss.item();
  for (const t of [loss, x, net]) t.dispose();
  return { value, grads, kept };
}

testEach('checkpointing gives the same loss and gradients, with dropout inside, and keeps less', async () => {
  const plain = await train('plain');
  for (const how of ['checkpointed', 'nested'] as const) {
    const got = await train(how);
    assert.equal(got.value, plain.value);
    assert.deepEqual(Object.keys(got.grads), Object.keys(plain.grads));
    for (const [name, g] of Object.entries(plain.grads)) {
      assertClose(got.grads[name], g, { absolute: 0, relative: 0 }, `${how}: ${name}`);
    }
    const limit = how === 'nested' ? 0.1 : 0.25;
    assert.ok(got.kept < limit * plain.kept, `${how} keeps ${got.kept} bytes of ${plain.kept}`);
  }
});

testEach('without recording, checkpoint is a call', () => {
  const x = tensor([2], { requiresGrad: true });
  const y = noGrad(() => checkpoint((t) => mul(t, t), x));
  assert.ok(!y.requiresGrad);
  y.dispose();
  x.dispose();
});

testEach('checkpoint: several inputs, one without gradient; an input as output', async () => {
  const [x, y] = [tensor([2, 3], { requiresGrad: true }), tensor([5, 7])];
  scope(() => {
    const product = checkpoint((a, b) => mul(a, b), x, y);
    const same = checkpoint((a) => a, x);
    sum(product.add(same)).backward();
  });
  assert.deepEqual(Array.from(await (x.grad as Tensor).data()), [6, 8]);
  assert.equal(y.grad, null);
  x.dispose();
  y.dispose();
});

testEach('retainGraph runs a checkpoint again', async () => {
  manualSeed(1);
  const x = tensor(new Float32Array(64).fill(1), { requiresGrad: true });
  const dropout = new Dropout(0.5);
  const loss = scope(() => sum(checkpoint((t) => dropout.forward(mul(t, t)), x)));
  backward(loss, { retainGraph: true });
  const once = Array.from(await (x.grad as Tensor).data());
  assert.equal(
    once.reduce((s, v) => s + v, 0),
    2 * (await loss.item()),
  );
  backward(loss);
  assert.deepEqual(
    Array.from(await (x.grad as Tensor).data()),
    once.map((v) => 2 * v),
  );
  loss.dispose();
  x.dispose();
});

testEach('an error in the second run leaves generator and memory as they were', () => {
  let runs = 0;
  const x = tensor([1, 2], { requiresGrad: true });
  const loss = scope(() =>
    sum(
      checkpoint((t) => {
        const y = new Dropout(0.5).forward(t);
        if (++runs === 2) throw new Error('second run');
        return y;
      }, x),
    ),
  );
  defaultGenerator().words(100);
  const state = defaultGenerator().state();
  assert.throws(() => backward(loss), /second run/);
  assert.deepEqual(defaultGenerator().state(), state);
  loss.dispose();
  x.dispose();
});

import assert from 'node:assert/strict';
import '../../index.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { sum } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { Buffer, Builder, metaBackend, type Parameter } from '../../nn/builder.js';
import { zeros } from '../../nn/init.js';
import {
  Conv2d,
  Dropout,
  Embedding,
  GELU,
  LayerNorm,
  Linear,
  SelfAttention,
  Sequential,
  Tanh,
} from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { testEach, testOn } from '../support/backends.js';

class Counted extends Module {
  readonly scale: Parameter;
  readonly seen: Buffer;
  /** Plain fields are no part of the tree. */
  readonly sizes = [1, 2];
  readonly options = { stride: 1 };
  readonly absent: Module | null = null;

  constructor(b: Builder) {
    super();
    this.scale = b.parameter([2], zeros);
    const made = b.parameter([3], zeros);
    this.seen = new Buffer(made.storage, made.dtype, made);
    made.dispose();
  }
}

class Net extends Module {
  readonly embed: Embedding;
  readonly layers: readonly Linear[];
  readonly tail: Sequential;
  readonly counted: Counted;

  constructor(b: Builder) {
    super();
    this.embed = new Embedding(b.at('embed'), 5, 3);
    this.layers = [0, 1].map((i) => new Linear(b.at('layers').at(i), 3, 3, { bias: i === 0 }));
    this.tail = new Sequential(new Linear(b.at('tail').at(0), 3, 4), new GELU(), new LayerNorm(b.at('tail').at(2), 4));
    this.counted = new Counted(b.at('counted'));
  }
}

const PARAMETERS = [
  'embed.weight',
  'layers.0.weight',
  'layers.0.bias',
  'layers.1.weight',
  'tail.0.weight',
  'tail.0.bias',
  'tail.2.weight',
  'tail.2.bias',
  'counted.scale',
];

/** A net whose memory goes when `run` ends. */
async function withNet(run: (net: Net) => void | Promise<void>): Promise<void> {
  const net = new Net(new Builder({ generator: new Generator(1) }));
  try {
    await run(net);
  } finally {
    net.dispose();
  }
}

const valuesOf = async (net: Module) => {
  const out: Record<string, number[]> = {};
  for (const [name, t] of net.stateDict()) out[name] = Array.from(await t.data());
  return out;
};

testEach('names are field paths; arrays and Sequential number their items', () =>
  withNet((net) => {
    assert.deepEqual(
      Array.from(net.namedParameters(), ([name]) => name),
      PARAMETERS,
    );
    assert.deepEqual([...net.stateDict().keys()], [...PARAMETERS, 'counted.seen']);
    assert.deepEqual(
      Array.from(net.modules(), ([path]) => path),
      ['', 'embed', 'layers.0', 'layers.1', 'tail', 'tail.0', 'tail.1', 'tail.2', 'counted'],
    );
    assert.equal(net.parameterCount(), 15 + 9 + 3 + 9 + 12 + 4 + 4 + 4 + 2);
    assert.ok(net.parameters().every((p) => p.requiresGrad));
  }),
);

testOn('reference', 'a parameter that two modules share is one parameter with two names in the state', () => {
  class Tied extends Module {
    readonly a: Embedding;
    readonly b: { readonly weight: Parameter } & Module;
    constructor(builder: Builder) {
      super();
      this.a = new Embedding(builder.at('a'), 4, 2);
      this.b = this.a;
    }
  }
  const tied = new Tied(new Builder());
  assert.deepEqual(
    Array.from(tied.namedParameters(), ([name]) => name),
    ['a.weight'],
  );
  assert.deepEqual([...tied.stateDict().keys()], ['a.weight', 'b.weight']);
  assert.equal(tied.parameterCount(), 8);
  tied.dispose();
});

testOn('reference', 'train and eval reach every module, those in arrays and in Sequential too', () => {
  const net = new Sequential(new Dropout(0.5), new Sequential(new Dropout(0.5), new Tanh()));
  const states = () => Array.from(net.modules(), ([, m]) => m.training);
  assert.deepEqual(states(), [true, true, true, true, true]);
  assert.equal(net.eval(), net);
  assert.deepEqual(states(), [false, false, false, false, false]);
  net.train();
  assert.deepEqual(states(), [true, true, true, true, true]);
});

testEach('a state of one module loads into another', () =>
  withNet((net) =>
    withNet(async (other) => {
      const zero = new Map(
        Array.from(net.stateDict(), ([name, t]) => [name, tensor(new Float32Array(t.size), { shape: t.shape })]),
      );
      other.loadStateDict(zero);
      assert.ok(Object.values(await valuesOf(other)).every((v) => v.every((x) => x === 0)));
      other.loadStateDict(net.stateDict());
      assert.deepEqual(await valuesOf(other), await valuesOf(net));
      for (const t of zero.values()) t.dispose();
    }),
  ),
);

testEach('strict loading lists missing, extra and misshapen names together and changes nothing', () =>
  withNet(async (net) => {
    const before = await valuesOf(net);
    const state = new Map<string, Tensor>();
    const blank = (...shape: number[]) => tensor(new Float32Array(shape.reduce((n, d) => n * d, 1)), { shape });
    for (const [name, t] of net.stateDict()) state.set(name, blank(...t.shape));
    const replace = (name: string, t: Tensor | null) => {
      state.get(name)?.dispose();
      if (t) state.set(name, t);
      else state.delete(name);
    };
    replace('embed.weight', null);
    replace('counted.seen', null);
    replace('head.weight', blank(1));
    // Neither of these would be refused by broadcasting.
    replace('layers.0.bias', blank(1));
    replace('layers.1.weight', blank(1, 3));
    assert.throws(
      () => net.loadStateDict(state),
      (e) => {
        assert.ok(e instanceof InputError);
        assert.equal(
          e.message,
          'The state does not fit Net: missing embed.weight, counted.seen; extra head.weight; of another shape ' +
            'layers.0.bias (expected [3], got [1]), layers.1.weight (expected [3, 3], got [1, 3]).',
        );
        return true;
      },
    );
    assert.deepEqual(await valuesOf(net), before);
    // Not strict: only shapes count.
    assert.throws(() => net.loadStateDict(state, { strict: false }), /of another shape layers.0.bias[^;]*$/);
    assert.deepEqual(await valuesOf(net), before);
    replace('layers.0.bias', null);
    replace('layers.1.weight', null);
    net.loadStateDict(state, { strict: false });
    const after = await valuesOf(net);
    assert.deepEqual(after['embed.weight'], before['embed.weight']);
    assert.ok(after['tail.0.weight'].every((x) => x === 0));
    for (const t of state.values()) t.dispose();
  }),
);

testOn('reference', 'a long list of names is cut', () => {
  const net = new Sequential(...Array.from({ length: 9 }, () => new Linear(new Builder(), 1, 1)));
  assert.throws(() => net.loadStateDict(new Map()), /missing 0\.weight, .*, 5\.bias and 6 more\.$/);
  net.dispose();
});

testEach('dispose frees all bytes, the gradients with them', (backend) => {
  const before = backend.stats.liveBytes;
  const net = new Net(new Builder());
  assert.equal(backend.stats.liveBytes - before, 4 * (net.parameterCount() + 3));
  scope(() => sum(net.tail.forward(net.layers[0].forward(tensor([[1, 2, 3]])))).backward());
  assert.ok(net.tail.parameters().every((p) => p.grad !== null));
  net.zeroGrad();
  assert.ok(net.parameters().every((p) => p.grad === null));
  scope(() => sum(net.layers[1].forward(tensor([[1, 2, 3]]))).backward());
  assert.ok(backend.stats.liveBytes - before > 4 * (net.parameterCount() + 3));
  net.dispose();
  assert.equal(backend.stats.liveBytes, before);
  net.dispose();
  assert.throws(() => net.layers[0].forward(net.embed.weight), /used after it was freed/);
});

testOn('reference', 'models on the meta backend have shapes and no memory', () => {
  const net = new Sequential(new Linear(new Builder({ backend: metaBackend(), initialize: false }), 100_000, 100_000));
  assert.equal(net.parameterCount(), 1e10 + 1e5);
  assert.throws(
    () => net.parameters()[0].backend.write({ bytes: 4 }, 0, new Uint8Array(4)),
    /meta backend has no values/,
  );
});

testOn('reference', 'the builder knows paths', () => {
  const b = new Builder();
  assert.equal(b.at('encoder').at('layers').at(3).path, 'encoder.layers.3');
});

testEach('layers compute what their names say', async () => {
  const b = new Builder({ generator: new Generator(2) });
  const identity = (shape: readonly number[]) =>
    Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => (i % (shape[1] + 1) === 0 ? 1 : 0));
  const modules = {
    linear: new Linear(b, 2, 2, { weight: identity, biasInit: () => new Float32Array([10, 20]) }),
    conv: new Conv2d(b, 1, 1, 2, { stride: 2, bias: false }),
    table: new Embedding(b, 3, 2, () => new Float32Array([0, 1, 2, 3, 4, 5])),
    attention: new SelfAttention(b, 4, 2),
  };
  const got = scope(() => ({
    linear: modules.linear.forward(tensor([[1, 2]]), { residual: tensor([[100, 200]]) }),
    conv: modules.conv.forward(tensor(new Float32Array(16).fill(1), { shape: [1, 1, 4, 4] })),
    table: modules.table.forward(tensor(new Int32Array([2, 0]))),
    attention: modules.attention.forward(tensor(new Float32Array(12), { shape: [1, 3, 4] })),
  }));
  assert.deepEqual(await got.linear.toArray(), [[111, 222]]);
  const kernel = Array.from(await modules.conv.weight.data()).reduce((s, w) => s + w, 0);
  assert.deepEqual(got.conv.shape, [1, 1, 2, 2]);
  for (const v of await got.conv.data()) assert.ok(Math.abs(v - kernel) < 1e-6);
  assert.deepEqual(await got.table.toArray(), [
    [4, 5],
    [0, 1],
  ]);
  assert.deepEqual(got.attention.shape, [1, 3, 4]);
  assert.throws(() => new SelfAttention(b, 5, 2), /expected a width divisible by 2 heads, got 5/);
  for (const t of Object.values(got)) t.dispose();
  for (const m of Object.values(modules)) m.dispose();
});

for (const dtype of ['float16', 'bfloat16'] as const) {
  testEach(`${dtype} parameters: forward, backward and loading`, async (backend) => {
    const before = backend.stats.liveBytes;
    const layer = new Linear(new Builder({ dtype, generator: new Generator(3) }), 4, 3);
    const wide = new Linear(new Builder({ initialize: false }), 4, 3);
    assert.equal(backend.stats.liveBytes - before, (2 + 4) * layer.parameterCount());
    wide.loadStateDict(layer.stateDict());
    assert.deepEqual(await valuesOf(wide), await valuesOf(layer));
    const run = (m: Linear, like: 'float32' | typeof dtype) =>
      scope(() => {
        const y = m.forward(tensor([[0.5, -1, 0.25, 2]], { dtype: like }));
        assert.equal(y.dtype, like);
        sum(y.mul(y)).backward();
        return y.detach();
      });
    const [y, wanted] = [run(layer, dtype), run(wide, 'float32')];
    // One rounding to 8 or 11 bits.
    const close = async (a: Tensor, w: Tensor) => {
      const [got, want] = [await a.data(), await w.data()];
      const tolerance = dtype === 'float16' ? 2e-3 : 2e-2;
      for (const [i, v] of want.entries())
        assert.ok(Math.abs(got[i] - v) <= tolerance * Math.max(1, Math.abs(v)), `${got[i]}, ${v}`);
    };
    await close(y, wanted);
    for (const [i, p] of layer.parameters().entries()) {
      assert.equal(p.grad?.dtype, dtype);
      await close(p.grad as Tensor, wide.parameters()[i].grad as Tensor);
    }
    for (const t of [y, wanted, layer, wide]) t.dispose();
  });
}

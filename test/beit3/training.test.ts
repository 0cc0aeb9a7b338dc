import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { type ModelSpec, parseConfig } from '../../beit3/config.js';
import { createModel } from '../../beit3/heads/index.js';
import { scope } from '../../core/memory.js';
import { randn } from '../../core/ops/index.js';
import { Generator, manualSeed } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';
import { crossEntropy } from '../../nn/losses.js';
import { AdamW } from '../../nn/optim.js';

const sizes = {
  encoder_embed_dim: 32,
  encoder_attention_heads: 2,
  encoder_ffn_embed_dim: 64,
  encoder_layers: 2,
  img_size: 16,
  patch_size: 8,
  vocab_size: 50,
  max_source_positions: 16,
  normalize_output: false,
};

function spec(extra: object = {}): ModelSpec & { task: 'imageclassification' } {
  return { task: 'imageclassification', config: parseConfig({ ...sizes, ...extra }, 'the test'), numClasses: 10 };
}

/** Losses of `steps` training steps on fixed pictures. */
async function train(steps: number, extra: object, onStep: (step: number) => void = () => {}): Promise<number[]> {
  manualSeed(3);
  const model = createModel(new Builder({ generator: new Generator(1) }), spec(extra), { initialisation: 'magneto' });
  const optimiser = new AdamW(model.namedParameters(), { lr: 3e-3, weightDecay: 0.01 });
  const image = randn([10, 3, 16, 16], { generator: new Generator(2) });
  const label = tensor(Int32Array.from({ length: 10 }, (_, i) => i));
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    const loss = scope(() => {
      const l = crossEntropy(model.forward(image), label);
      backward(l);
      optimiser.step({ maxNorm: 1 });
      optimiser.zeroGrad();
      return l;
    });
    losses.push(await loss.item());
    loss.dispose();
    onStep(i);
  }
  optimiser.dispose();
  model.dispose();
  image.dispose();
  label.dispose();
  return losses;
}

describe('training', () => {
  after(() => disposeBackend('wasm'));

  it('1,000 steps keep memory flat and learn ten pictures by heart', async () => {
    const backend = await useBackend('wasm', { threads: 2 });
    const before = backend.stats.liveBytes;
    let settled = { live: 0, rss: 0 };
    let now = settled;
    const losses = await train(1000, {}, (step) => {
      now = { live: backend.stats.liveBytes, rss: process.memoryUsage().rss };
      if (step === 299) settled = now;
    });
    assert.equal(now.live, settled.live, 'live bytes grew between step 300 and 1,000');
    assert.ok(
      now.rss - settled.rss < 24e6,
      `RSS grew by ${((now.rss - settled.rss) / 1e6).toFixed(1)} MB in 700 steps`,
    );
    assert.ok(losses[0] > 1.5 && losses[999] < 0.02, `loss went from ${losses[0]} to ${losses[999]}`);
    assert.equal(backend.stats.liveBytes, before);
  });

  it('activation checkpointing and drop path repeat the same numbers', async () => {
    await useBackend('wasm', { threads: 2 });
    const plain = await train(5, { drop_path_rate: 0.3 });
    const checkpointed = await train(5, { drop_path_rate: 0.3, checkpoint_activations: true });
    assert.deepEqual(checkpointed, plain);
    assert.notDeepEqual(await train(5, {}), plain, 'drop path did nothing');
  });
});

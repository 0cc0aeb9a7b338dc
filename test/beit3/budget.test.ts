import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import '../../autograd/index.js';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { parseConfig } from '../../beit3/config.js';
import { EncoderLayer } from '../../beit3/model/layer.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { randn } from '../../core/ops/index.js';
import { Builder } from '../../nn/builder.js';
import { AdamW } from '../../nn/optim.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';

/** The launch budget of one block: what a backend with all fused kernels may start. */
const BUDGET = { forward: 12, forwardBackward: 45, adamw: 10 };

const config = parseConfig(
  {
    encoder_embed_dim: 32,
    encoder_attention_heads: 4,
    encoder_ffn_embed_dim: 64,
    encoder_layers: 2,
    img_size: 32,
    patch_size: 8,
    vocab_size: 50,
    max_source_positions: 32,
  },
  'the test',
);

const gpu = await gpuOrReason();

const CASES = (['wasm', 'webgpu'] as const).flatMap((device) =>
  (
    [
      ['vision', -1],
      ['text', 0],
      ['fused', 10],
    ] as const
  ).map(([kind, split]) => ({ device, kind, split })),
);

describe('launch budget of a BEiT-3 block', () => {
  after(() => Promise.all(['wasm', 'webgpu'].map(disposeBackend)));

  for (const { device, kind, split } of CASES) {
    const skip = device === 'webgpu' && typeof gpu === 'string' ? gpu : false;
    it(`${kind} on ${device}: forward, forward and backward, and the optimiser's step`, { skip }, async () => {
      const backend = await useBackend(device, { threads: 1, adapter: ADAPTER });
      const before = backend.stats.liveBytes;
      const options = { branches: { A: true, B: true }, initialisation: 'magneto' } as const;
      const layer = new EncoderLayer(new Builder(), config, 0, options);
      const x = randn([2, 17, 32]).requireGrad();
      const context = { split, keyPadding: null, bias: null };
      const count = (fn: () => unknown): number => {
        const start = backend.stats.launches;
        scope(() => {
          fn();
        });
        return backend.stats.launches - start;
      };
      const forward = count(() => noGrad(() => layer.forward(x, context)));
      assert.ok(forward <= BUDGET.forward, `forward took ${forward} launches, the budget is ${BUDGET.forward}`);
      const gradient = randn([2, 17, 32]);
      const both = count(() => backward(layer.forward(x, context), { gradient }));
      assert.ok(
        both <= BUDGET.forwardBackward,
        `forward and backward took ${both} launches, the budget is ${BUDGET.forwardBackward}`,
      );
      const optimiser = new AdamW(layer.namedParameters());
      // The first step makes the moments.
      count(() => optimiser.step({ maxNorm: 1 }));
      const step = count(() => optimiser.step({ maxNorm: 1 }));
      assert.ok(step <= BUDGET.adamw, `an AdamW step took ${step} launches, the budget is ${BUDGET.adamw}`);
      optimiser.dispose();
      layer.dispose();
      x.dispose();
      gradient.dispose();
      assert.equal(backend.stats.liveBytes, before);
    });
  }
});

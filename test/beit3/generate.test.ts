/** What decoding holds in memory; what it writes is compared with the reference in parity.test.ts. */
import assert from 'node:assert/strict';
import { parseConfig } from '../../beit3/config.js';
import { generate } from '../../beit3/generate.js';
import { createModel } from '../../beit3/heads/index.js';
import type { Backend } from '../../core/backend.js';
import { keep } from '../../core/memory.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';
import { testOn } from '../support/backends.js';

/** An image of 256 patches, whose keys and values far outweigh those of a text. */
const CONFIG = parseConfig(
  {
    encoder_embed_dim: 16,
    encoder_attention_heads: 2,
    encoder_ffn_embed_dim: 16,
    encoder_layers: 6,
    img_size: 64,
    patch_size: 4,
    vocab_size: 32,
    max_source_positions: 32,
  },
  'test',
);

testOn('wasm', 'the beams of an image share its keys and values', async (backend) => {
  const random = new Generator(3);
  const model = createModel(new Builder({ backend, generator: random }), {
    task: 'captioning',
    config: CONFIG,
    numClasses: 0,
  });
  const image = keep(tensor(random.normal(3 * 64 * 64), { shape: [1, 3, 64, 64], backend }));
  const peak = async (numBeams: number): Promise<number> => {
    const before = backend.stats.liveBytes;
    let most = before;
    const alloc = backend.alloc;
    const watched: Backend['alloc'] = (bytes) => {
      const block = alloc.call(backend, bytes);
      most = Math.max(most, backend.stats.liveBytes);
      return block;
    };
    backend.alloc = watched;
    try {
      await generate(model, image, { numBeams, maxLength: 4, maskId: 31 });
    } finally {
      backend.alloc = alloc;
    }
    return most - before;
  };
  const [one, many] = [await peak(1), await peak(16)];
  const ofImage = 2 * CONFIG.encoder_layers * 257 * CONFIG.encoder_embed_dim * 4;
  assert.ok(many - one < 2 * ofImage, `${many - one} bytes for 15 more beams, the image has ${ofImage}`);
  image.dispose();
  model.dispose();
});

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { parseConfig, SIZES } from '../../beit3/config.js';
import { maskWords } from '../../beit3/data/loader/masking.js';
import type { MaskedImages, MaskedTexts, PretrainBatch } from '../../beit3/pretrain/batch.js';
import { maskedLosses } from '../../beit3/pretrain/losses.js';
import { blockMask } from '../../beit3/pretrain/masks.js';
import { Pretraining } from '../../beit3/pretrain/model.js';
import { PretrainTask, readLosses } from '../../beit3/pretrain/task.js';
import { parseVqKdConfig } from '../../beit3/vqkd/config.js';
import { VqKd } from '../../beit3/vqkd/vqkd.js';
import { scope } from '../../core/memory.js';
import { Generator, manualSeed } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder, metaBackend } from '../../nn/builder.js';

const SIDE = 32;
const GRID = 4;
const CODES = 16;
const SMALL = {
  encoder_embed_dim: 32,
  encoder_attention_heads: 2,
  encoder_ffn_embed_dim: 64,
  encoder_layers: 2,
  img_size: SIDE,
  patch_size: 8,
  vocab_size: 30,
  max_source_positions: 16,
};
const VOCABULARY = { size: 30, maskId: 29 };

function images(size: number, random: Generator): MaskedImages {
  const masks = Array.from({ length: size }, () => blockMask({ grid: GRID, count: 6, least: 2 }, random));
  const masked = Uint8Array.from(masks.flatMap((mask) => [...mask]));
  return {
    size,
    side: SIDE,
    images: random.normal(size * 3 * SIDE * SIDE),
    masked,
    predictPatches: Int32Array.from([...masked.keys()].filter((i) => masked[i] === 1)),
    files: Array.from({ length: size }, (_, i) => `${i}.png`),
  };
}

function texts(size: number, length: number, probability: number, random: Generator): MaskedTexts {
  const ids = new Int32Array(size * length).fill(1);
  const padding = new Uint8Array(size * length).fill(1);
  const predict: number[] = [];
  const targets: number[] = [];
  for (let b = 0; b < size; b++) {
    const words = length - 2 - (b % 3);
    const row = Int32Array.of(0, ...random.integers(words, 3, VOCABULARY.maskId), 2);
    const whole = row.slice();
    for (const place of maskWords(row, probability, VOCABULARY, random)) {
      predict.push(b * length + place);
      targets.push(whole[place]);
    }
    ids.set(row, b * length);
    padding.fill(0, b * length, b * length + row.length);
  }
  return { size, length, ids, padding, predictTokens: Int32Array.from(predict), targets: Int32Array.from(targets) };
}

function batchOf(seed: number): PretrainBatch {
  const random = new Generator(seed);
  return {
    images: images(4, random),
    texts: texts(4, 12, 0.15, random),
    pairs: { images: images(4, random), texts: texts(4, 10, 0.5, random) },
  };
}

const DATA = { next: async () => [batchOf(1)], position: () => null, restore: async () => {}, close: async () => {} };

describe('masked data modelling', async () => {
  const backend = await useBackend('wasm', { threads: 1 });
  after(() => disposeBackend('wasm'));
  const tokenizerOf = () =>
    new VqKd(
      new Builder({ generator: new Generator(5) }),
      parseVqKdConfig(
        {
          img_size: SIDE,
          patch_size: 8,
          embed_dim: 16,
          num_heads: 2,
          encoder_depth: 1,
          n_code: CODES,
          code_dim: 4,
          decoder_out_dim: 8,
        },
        'the test',
      ),
    );

  it('has the official sizes, and those of the paper for giant', () => {
    const count = (size: 'base' | 'large') =>
      new Pretraining(new Builder({ backend: metaBackend(), initialize: false }), SIZES[size], {
        codes: 8192,
      }).parameterCount();
    assert.equal((count('base') / 1e6).toFixed(1), '276.5');
    assert.equal((count('large') / 1e6).toFixed(1), '746.7');
    const giant = new Pretraining(new Builder({ backend: metaBackend(), initialize: false }), SIZES.giant, {
      codes: 8192,
    });
    const millions = (part: RegExp): number =>
      Math.round([...giant.namedParameters()].reduce((n, [name, p]) => n + (part.test(name) ? p.size : 0), 0) / 1e6);
    // Table 2 of the paper: vision and language experts, those for both, attention, 1.9B in all.
    assert.deepEqual(
      [/ffn\.A\.fc/, /ffn\.B\.fc/, /ffn\.VL\.fc/, /self_attn\..*_proj/].map(millions),
      [692, 692, 52, 317],
    );
    assert.ok(Math.abs(giant.parameterCount() / 1.9e9 - 1) < 0.03, `${giant.parameterCount()}`);
  });

  it('learns a batch by heart, in all three kinds, and frees what it uses', async () => {
    for (const extra of [{}, { shared_attention: true, vl_expert_layers: 1 }]) {
      manualSeed(3);
      const start = backend.stats.liveBytes;
      const tokenizer = tokenizerOf();
      scope(() => {
        const random = new Generator(9);
        tokenizer.quantize.begin(
          tokenizer.project(tensor(random.normal(64 * 3 * SIDE * SIDE), { shape: [64, 3, SIDE, SIDE] })),
        );
      });
      const model = new Pretraining(
        new Builder({ generator: new Generator(1) }),
        parseConfig({ ...SMALL, ...extra }, 'the test'),
        {
          codes: CODES,
          initialisation: 'magneto',
        },
      );
      const task = new PretrainTask(model, tokenizer, DATA);
      const batch = batchOf(1);
      let numbers: Readonly<Record<string, number>> = {};
      let live = 0;
      const losses: number[] = [];
      for (let step = 0; step < 60; step++) {
        numbers = await task.step([batch], step, 4e-3);
        losses.push(numbers.loss);
        if (step === 1) live = backend.stats.liveBytes;
      }
      assert.equal(backend.stats.liveBytes, live, 'steps leave nothing behind');
      assert.ok(losses[59] < 0.25 * losses[0], `${losses[0]} to ${losses[59]}`);
      for (const name of ['imageAcc', 'textAcc', 'pairImageAcc', 'pairTextAcc'])
        assert.ok(numbers[name] > 0.8, JSON.stringify(numbers));
      const seen = await readLosses(
        maskedLosses(model.eval(), tokenizer, { ...batch, texts: null }, { backwards: false }),
      );
      assert.deepEqual(Object.keys(seen), [
        'image',
        'imageAcc',
        'pairImage',
        'pairImageAcc',
        'pairText',
        'pairTextAcc',
      ]);
      task.dispose();
      model.dispose();
      tokenizer.dispose();
      assert.equal(backend.stats.liveBytes, start);
    }
  });
});

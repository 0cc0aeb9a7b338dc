/** Masked batches of noise, and the small models that they fit. */
import { parseConfig } from '../../beit3/config.js';
import { maskWords } from '../../beit3/data/loader/masking.js';
import type { MaskedImages, MaskedTexts, PretrainBatch } from '../../beit3/pretrain/batch.js';
import { blockMask } from '../../beit3/pretrain/masks.js';
import { Pretraining } from '../../beit3/pretrain/model.js';
import { parseVqKdConfig } from '../../beit3/vqkd/config.js';
import { VqKd } from '../../beit3/vqkd/vqkd.js';
import { scope } from '../../core/memory.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';

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

/** Four of each kind. */
export function batchOf(seed: number): PretrainBatch {
  const random = new Generator(seed);
  return {
    images: images(4, random),
    texts: texts(4, 12, 0.15, random),
    pairs: { images: images(4, random), texts: texts(4, 10, 0.5, random) },
  };
}

/** A tokenizer whose codebook has begun; on the default backend. */
export function noiseTokenizer(): VqKd {
  const sizes = { img_size: SIDE, patch_size: 8, embed_dim: 16, num_heads: 2, encoder_depth: 1 };
  const config = parseVqKdConfig({ ...sizes, n_code: CODES, code_dim: 4, decoder_out_dim: 8 }, 'the test');
  const tokenizer = new VqKd(new Builder({ generator: new Generator(5) }), config);
  scope(() => {
    const noise = new Generator(9).normal(64 * 3 * SIDE * SIDE);
    tokenizer.quantize.begin(tokenizer.project(tensor(noise, { shape: [64, 3, SIDE, SIDE] })));
  });
  return tokenizer;
}

/** A model for the batches; `extra` are fields of its config. */
export function smallPretraining(extra: object = {}): Pretraining {
  const config = parseConfig({ ...SMALL, ...extra }, 'the test');
  const options = { codes: CODES, initialisation: 'magneto' } as const;
  return new Pretraining(new Builder({ generator: new Generator(1) }), config, options);
}

/** Data for a task that is stepped by hand. */
export const NO_DATA = {
  next: async () => [batchOf(1)],
  position: () => null,
  restore: async () => {},
  close: async () => {},
};

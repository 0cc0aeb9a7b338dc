/** How long the steps of a tiny model that is pretrained wait for their pictures, texts and pairs. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig } from '../beit3/config.js';
import { openPairs, openPictures, openTexts } from '../beit3/data/stream/index.js';
import { pretrainBatches, pretrainingTransform } from '../beit3/pretrain/loader.js';
import { Pretraining } from '../beit3/pretrain/model.js';
import { PretrainTask } from '../beit3/pretrain/task.js';
import { Tokenizer } from '../beit3/tokenizer/index.js';
import { parseVqKdConfig } from '../beit3/vqkd/config.js';
import { VqKd } from '../beit3/vqkd/vqkd.js';
import { Generator } from '../core/random.js';
import { Builder } from '../nn/builder.js';
import { writeShards } from './stream/shards.js';

export interface PretrainLoaderOptions {
  /** Where shards and texts are written; with picture files in it. */
  readonly folder: string;
  readonly pictures: readonly string[];
  /** Side of the files, and of what the model sees. */
  readonly side: number;
  readonly size: number;
  /** Samples of each kind in a step. */
  readonly batch: number;
  readonly workers: number | undefined;
  readonly steps: number;
}

/** Steps that start threads and warm up. */
const WARM_UP = 5;
const PATCH = 8;
const TEXT_LENGTH = 64;

/** Pretrains on the default backend; the samples of a second and the share of the time that steps waited for data. */
export async function pretrainWaits(options: PretrainLoaderOptions): Promise<{ rate: number; share: number }> {
  const { folder, pictures, side, size, batch, workers, steps } = options;
  const shards = await writeShards(join(folder, 'shards'), { bytes: 1, pairs: 500, side, pictures: 100 });
  const texts = join(folder, 'texts.txt');
  const random = new Generator(2);
  const words = 'a the red blue old small dog cat cup house street river tree'.split(' ');
  const lines = Array.from({ length: 5000 }, () => Array.from(random.integers(30, 0, 13), (i) => words[i]).join(' '));
  await writeFile(texts, lines.join('\n'));
  const tokenizer = await Tokenizer.load(shards.tokenizer);
  const grid = size / PATCH;
  const sizes = { img_size: size, patch_size: PATCH };
  const config = parseConfig(
    {
      ...sizes,
      ...{ encoder_embed_dim: 128, encoder_attention_heads: 4, encoder_ffn_embed_dim: 512, encoder_layers: 4 },
      vocab_size: tokenizer.vocabularySize,
    },
    'the benchmark',
  );
  const codes = parseVqKdConfig(
    { ...sizes, embed_dim: 64, num_heads: 2, encoder_depth: 2, n_code: 256, code_dim: 8, decoder_out_dim: 8 },
    'the benchmark',
  );
  const builder = new Builder();
  const visual = new VqKd(builder, codes);
  const model = new Pretraining(builder, config, { codes: codes.n_code, initialisation: 'magneto' });
  const shuffle = { tokenizer, seed: 1 };
  const data = pretrainBatches(
    {
      images: { stream: await openPictures(pictures, shuffle), size: batch },
      texts: { stream: await openTexts([texts], { ...shuffle, length: TEXT_LENGTH }), size: batch },
      pairs: { stream: await openPairs(shards.shards, { ...shuffle, maxTokens: TEXT_LENGTH }), size: batch },
    },
    {
      ...{ seed: 1, workers, grid, hiddenPatches: Math.round(0.4 * grid * grid), leastBlock: Math.min(16, grid) },
      imageTransform: pretrainingTransform(size, 0.2),
      pairTransform: pretrainingTransform(size, 0.5),
      ...{ textShare: 0.15, pairShare: 0.5 },
      vocabulary: { size: tokenizer.maskId, maskId: tokenizer.maskId },
    },
  );
  const task = new PretrainTask(model, visual, {
    next: async () => [await data.next()],
    position: () => data.position(),
    restore: (position) => data.restore(position),
    close: () => data.close(),
  });
  try {
    let [begun, waited] = [0, 0];
    for (let step = 0; step < steps + WARM_UP; step++) {
      if (step === WARM_UP) [begun, waited] = [performance.now(), 0];
      const before = performance.now();
      const batches = await task.data.next();
      waited += performance.now() - before;
      await task.step(batches, step, 1e-4);
    }
    const took = performance.now() - begun;
    return { rate: (3000 * batch * steps) / took, share: waited / took };
  } finally {
    await task.data.close();
    task.dispose();
    model.dispose();
    visual.dispose();
  }
}

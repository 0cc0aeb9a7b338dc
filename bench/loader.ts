/**
 * `npm run bench:loader`: how fast pictures are loaded, and how long the training steps of a tiny model wait for them.
 * Flags: --pictures N (256), --side PIXELS (128) of the files, --size PIXELS (64) of the model, --batch N (16),
 * --threads N (2) of the model, --workers N (as the loader chooses), --epochs N (4).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { backward } from '../autograd/backward.js';
import { disposeBackend, useBackend } from '../backends/index.js';
import { parseConfig } from '../beit3/config.js';
import { DataLoader, type DataSet } from '../beit3/data/loader/index.js';
import { imageNetTraining, visionLanguageTraining } from '../beit3/data/transforms/index.js';
import { createModel } from '../beit3/heads/index.js';
import { trainingLoss } from '../beit3/tasks/index.js';
import { scope } from '../core/memory.js';
import { Generator } from '../core/random.js';
import { Builder } from '../nn/builder.js';
import { AdamW } from '../nn/optim.js';

const { values } = parseArgs({
  options: {
    pictures: { type: 'string', default: '256' },
    side: { type: 'string', default: '128' },
    size: { type: 'string', default: '64' },
    batch: { type: 'string', default: '16' },
    threads: { type: 'string', default: '2' },
    workers: { type: 'string' },
    epochs: { type: 'string', default: '4' },
  },
});
const [count, side, size, batchSize, threads, epochs] = (
  ['pictures', 'side', 'size', 'batch', 'threads', 'epochs'] as const
).map((name) => Number(values[name]));
const workers = values.workers === undefined ? undefined : Number(values.workers);
const CLASSES = 100;

const folder = await mkdtemp(join(tmpdir(), 'azulejo-loader-'));
try {
  const random = new Generator(1);
  const files: string[] = [];
  for (let i = 0; i < count; i++) {
    // Noise of a few pixels, enlarged: it compresses like a photograph.
    const noise = Uint8Array.from(random.integers(12 * 12 * 3, 0, 256));
    const file = join(folder, `${i}.jpg`);
    await sharp(noise, { raw: { width: 12, height: 12, channels: 3 } })
      .resize(side, side)
      .jpeg()
      .toFile(file);
    files.push(file);
  }
  const data: DataSet<'imageclassification'> = {
    task: 'imageclassification',
    size: count,
    classes: CLASSES,
    vocabulary: null,
    sample: (row) => ({ pictures: [files[row]], label: row % CLASSES }),
    where: (row) => files[row],
  };

  console.log(`${count} JPEG files of ${side} x ${side} pixels, to ${size} x ${size}`);
  const transforms = {
    'vision-language': visionLanguageTraining({ size, randAugment: true }),
    ImageNet: imageNetTraining({ size }),
  };
  for (const [name, transform] of Object.entries(transforms)) {
    for (const cacheMegabytes of [0, 256]) {
      const loader = new DataLoader(data, { batchSize, transform, training: true, workers, cacheMegabytes });
      for await (const _ of loader.epoch(0));
      const begun = performance.now();
      for await (const _ of loader.epoch(1));
      const rate = (loader.batches * batchSize * 1000) / (performance.now() - begun);
      const cached = cacheMegabytes > 0 ? 'decoded once' : 'decoded anew';
      console.log(`${name.padEnd(16)} ${cached}  ${rate.toFixed(0).padStart(6)} images/s`);
      await loader.close();
    }
  }

  await useBackend('wasm', { threads });
  const config = parseConfig(
    {
      encoder_embed_dim: 128,
      encoder_attention_heads: 4,
      encoder_ffn_embed_dim: 512,
      encoder_layers: 4,
      img_size: size,
      patch_size: 8,
      vocab_size: 100,
      normalize_output: false,
    },
    'the benchmark',
  );
  const spec = { task: 'imageclassification' as const, config, numClasses: CLASSES };
  const model = createModel(new Builder(), spec, { initialisation: 'magneto' });
  const optimiser = new AdamW(model.namedParameters(), { lr: 1e-4 });
  for (const [name, transform] of Object.entries(transforms)) {
    const loader = new DataLoader(data, { batchSize, transform, training: true, workers });
    let begun = performance.now();
    for (let epoch = 0; epoch <= epochs; epoch++) {
      // The first epoch starts threads and warms up.
      if (epoch === 1) {
        loader.waitSeconds = 0;
        begun = performance.now();
      }
      for await (const batch of loader.epoch(epoch)) {
        const loss = scope(() => {
          const { loss } = trainingLoss('imageclassification', model, batch);
          backward(loss);
          optimiser.step();
          optimiser.zeroGrad();
          return loss.detach();
        });
        await loss.item();
        loss.dispose();
      }
    }
    const seconds = (performance.now() - begun) / 1000;
    const rate = (epochs * loader.batches * batchSize) / seconds;
    const share = (100 * loader.waitSeconds) / seconds;
    console.log(
      `${name.padEnd(16)} training ${rate.toFixed(0).padStart(6)} images/s, ${share.toFixed(1)}% of the time waited (gate: 5%)`,
    );
    await loader.close();
  }
  optimiser.dispose();
  model.dispose();
} finally {
  await disposeBackend('wasm');
  await rm(folder, { recursive: true, force: true });
}

/**
 * `npm run bench:loader`: how fast pictures are loaded, and how long the training steps of a tiny model wait for them, in
 * fine-tuning and in pretraining on pictures, texts and pairs.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { backward } from '../autograd/backward.js';
import { disposeBackend, useBackend } from '../backends/index.js';
import { parseConfig } from '../beit3/config.js';
import { DataLoader, type DataSet } from '../beit3/data/loader/index.js';
import { imageNetTraining, visionLanguageTraining } from '../beit3/data/transforms/index.js';
import { createModel } from '../beit3/heads/index.js';
import { trainingLoss } from '../beit3/tasks/index.js';
import { InputError } from '../core/errors.js';
import { scope } from '../core/memory.js';
import { Generator } from '../core/random.js';
import { Builder } from '../nn/builder.js';
import { AdamW } from '../nn/optim.js';
import { flagsOf, main } from './flags.js';
import { pretrainWaits } from './pretrainLoader.js';

const FLAGS = {
  pictures: ['N', 'picture files; default: 256'],
  side: ['PIXELS', 'side of the files; default: 128'],
  size: ['PIXELS', 'side of what the model sees, a multiple of 8; default: 64'],
  batch: ['N', 'pictures a step; default: 16'],
  threads: ['N', 'threads of the model; default: 2'],
  workers: ['N', 'threads that load pictures; default: as the loader chooses'],
  epochs: ['N', 'passes over the pictures that are measured; default: 4'],
} as const;
const CLASSES = 100;

await main(async () => {
  const flags = flagsOf(
    'npm run bench:loader -- [FLAGS]: loading pictures, and training steps that wait for them',
    FLAGS,
  );
  if (flags === null) return;
  const count = flags.whole('pictures', 1, 1e6) ?? 256;
  const side = flags.whole('side', 8, 10_000) ?? 128;
  const size = flags.whole('size', 8, 1024) ?? 64;
  const batchSize = flags.whole('batch', 1, count) ?? Math.min(16, count);
  const threads = flags.whole('threads', 1, 256) ?? 2;
  const workers = flags.whole('workers', 0, 256);
  const epochs = flags.whole('epochs', 1, 1000) ?? 4;
  if (size % 8 !== 0) throw new InputError(`--size must be a multiple of 8, got ${size}.`);

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
    const steps = Math.max(10, Math.ceil((epochs * count) / (3 * batchSize)));
    const { rate, share } = await pretrainWaits({
      folder,
      pictures: files,
      side,
      size,
      batch: batchSize,
      workers,
      steps,
    });
    console.log(
      `${'three kinds'.padEnd(16)} pretraining ${rate.toFixed(0).padStart(3)} samples/s, ${(100 * share).toFixed(1)}% of the time waited (gate: 5%)`,
    );
  } finally {
    await disposeBackend('wasm');
    await rm(folder, { recursive: true, force: true });
  }
});

/** Small checkpoints, tokenizers and photographs for the tests of pipelines and of the command line. */
import { writeFile } from 'node:fs/promises';
import sharp from 'sharp';
import { writableTensors } from '../../beit3/checkpoint.js';
import { parseConfig } from '../../beit3/config.js';
import { Pretraining } from '../../beit3/pretrain/model.js';
import { trainUnigram } from '../../beit3/tokenizer/index.js';
import { exportWeights } from '../../beit3/training/export.js';
import { openCheckpoint, renamedEntry, writePth, writeSafetensors } from '../../checkpoints/index.js';
import { Generator } from '../../core/random.js';
import { Builder } from '../../nn/builder.js';
import { fixture } from '../checkpoints/helpers.js';

/** The weights of a dump of the reference as a checkpoint, by default with its config inside; `.pth` or `.safetensors` by name. */
export async function writeTinyCheckpoint(dump: string, path: string, hasConfig = true): Promise<string> {
  const file = await openCheckpoint(fixture(`parity/${dump}.safetensors`));
  try {
    const task = file.metadata.task.replace('_generate', '');
    const config = JSON.stringify({ ...(JSON.parse(file.metadata.config) as object), task });
    const prefix = 'state/';
    const state = [...file.tensors.values()]
      .filter(({ name }) => name.startsWith(prefix))
      .map((entry) => renamedEntry(entry, entry.name.slice(prefix.length)));
    const inside: Record<string, string> = hasConfig ? { config } : {};
    if (path.endsWith('.pth')) await writePth(path, state, { extra: inside });
    else await writeSafetensors(path, state, { format: 'pt', ...inside });
  } finally {
    await file.close();
  }
  return path;
}

/** A pretrained checkpoint of fresh weights that learn, as `beit3 pretrain` leaves it. */
export async function writeTinyPretrained(path: string, sizes: object): Promise<string> {
  const config = parseConfig(sizes, 'the test');
  const builder = new Builder({ generator: new Generator(3) });
  const model = new Pretraining(builder, config, { codes: 16, initialisation: 'magneto' });
  const [written] = await exportWeights(
    path.replace(/\.\w+$/, ''),
    'safetensors',
    writableTensors(model.namedTensors()),
    {
      ...config,
    },
  );
  model.dispose();
  return written;
}

const SENTENCES = [
  'a red panda sleeps',
  'the dog and the cat',
  'two cups on a table',
  'is there a bird in this tree',
  'how many people',
];

/** A tokenizer; with 97 pieces <mask> is the last row, 98, of the dumps' word table. */
export async function writeTinyTokenizer(path: string, count = 97): Promise<string> {
  const { bytes, pieces } = trainUnigram(SENTENCES, {
    vocabularySize: count,
    requiredCharacters: 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!:;-()+*/=_%&$#@',
  });
  if (pieces.length !== count) throw new Error(`expected ${count} pieces, got ${pieces.length}`);
  await writeFile(path, bytes);
  return path;
}

/** A PNG of a colour that fades to white. */
export async function writePhoto(
  path: string,
  red: number,
  green: number,
  blue: number,
  width = 48,
  height = 40,
): Promise<string> {
  const data = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const fade = (x + y) / (width + height);
      data.set(
        [red, green, blue].map((c) => Math.round(c + (255 - c) * fade)),
        (y * width + x) * 3,
      );
    }
  }
  await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(path);
  return path;
}

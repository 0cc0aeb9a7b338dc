/** A pretraining on all three kinds of data that takes no time. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { saveVqKd } from '../../beit3/vqkd/checkpoint.js';
import { parseVqKdConfig } from '../../beit3/vqkd/config.js';
import { VqKd } from '../../beit3/vqkd/vqkd.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';
import { tarOf } from '../beit3/tars.js';
import { writePhoto, writeTinyTokenizer } from '../beit3/tinyModels.js';
import { TINY } from './killLoop.js';

const SIDE = 32;
/** Patches of 16 pixels have a grid of their own. */
const SIZES = { ...TINY, img_size: SIDE, patch_size: 8 };

/** A visual tokenizer with vectors that pictures fall to; needs a default backend. */
export async function writeTinyVqKd(path: string, codes = 16): Promise<string> {
  const sizes = { embed_dim: 16, num_heads: 2, encoder_depth: 1, code_dim: 4, decoder_out_dim: 8, n_code: codes };
  const config = parseVqKdConfig({ img_size: SIDE, patch_size: 8, ...sizes }, 'the test');
  const random = new Generator(5);
  const model = new VqKd(new Builder({ generator: random }), config);
  model.quantize.begin(model.project(tensor(random.normal(32 * 3 * SIDE * SIDE), { shape: [32, 3, SIDE, SIDE] })));
  await saveVqKd(model, config, path);
  model.dispose();
  return path;
}

export interface PretrainData {
  readonly images: string;
  readonly texts: string;
  readonly pairs: string;
  readonly tokenizer: string;
  readonly imageTokenizer: string;
  readonly config: string;
}

/** Pictures, texts, two shards of pairs, tokenizers and sizes in a folder. */
export async function writePretrainData(folder: string): Promise<PretrainData> {
  const at = (name: string): string => join(folder, name);
  await mkdir(at('images'), { recursive: true });
  const names: string[] = [];
  for (let i = 0; i < 8; i++)
    names.push(await writePhoto(at(`images/${i}.png`), 30 * i, 255 - 30 * i, (90 * i) % 256, 40, 36));
  const words = ['red', 'panda', 'dog', 'cat', 'cups', 'tree', 'bird', 'table'];
  await writeFile(at('texts.txt'), words.map((w, i) => `a ${w} and the ${words[(3 * i + 1) % 8]}\n`).join(''));
  for (const shard of [0, 1]) {
    const members = await Promise.all(
      names.slice(4 * shard, 4 * shard + 4).map(async (name, i) => [
        { name: `${shard}${i}.png`, bytes: await readFile(name) },
        { name: `${shard}${i}.txt`, bytes: `a ${words[4 * shard + i]}` },
      ]),
    );
    await writeFile(at(`pairs-${shard}.tar`), tarOf(members.flat()));
  }
  await writeFile(at('tiny.json'), JSON.stringify(SIZES));
  return {
    images: at('images'),
    texts: at('texts.txt'),
    pairs: at('pairs-{0..1}.tar'),
    tokenizer: await writeTinyTokenizer(at('tiny.spm')),
    imageTokenizer: await writeTinyVqKd(at('vqkd.safetensors')),
    config: at('tiny.json'),
  };
}

export type PretrainFlags = Readonly<Record<string, string | undefined>>;

/** The arguments of a run; `flags` win over those that make it tiny, and undefined leaves one out. */
export function pretrainRun(data: PretrainData, output: string, flags: PretrainFlags = {}): string[] {
  const { images, texts, pairs, tokenizer, imageTokenizer, config } = data;
  const files = { images, texts, pairs, tokenizer, 'image-tokenizer': imageTokenizer, config, output };
  const batches = { 'image-batch': '3', 'text-batch': '2', 'pair-batch': '3', 'shuffle-buffer': '5', workers: '0' };
  const sizes = { 'text-length': '12', 'pair-text-length': '10', 'min-block': '2', 'warmup-steps': '2' };
  const all: PretrainFlags = { ...files, ...batches, ...sizes, initialisation: 'magneto', ...flags };
  const given = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
  return ['pretrain', ...given];
}

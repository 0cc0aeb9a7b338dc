/** Tiny stand-ins of the official data sets, in the formats of their annotation files. */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import type { IndexTask } from '../../beit3/data/index/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { fixture } from '../checkpoints/helpers.js';

/** Task -> the folder of its annotation files below test/fixtures/datasets. */
const SOURCES: { readonly [task in IndexTask]: string } = {
  imagenet: 'imagenet',
  vqav2: 'vqav2',
  nlvr2: 'nlvr2',
  coco_captioning: 'coco',
  coco_retrieval: 'coco',
  flickr30k: 'flickr30k',
  nocaps: 'nocaps',
};

export const TASKS = Object.keys(SOURCES) as IndexTask[];

/** Lays a stand-in out in `folder`: annotation files, and images that hold `image`, nothing by default. */
export async function layOut(task: IndexTask, folder: string, image: Uint8Array = new Uint8Array()): Promise<void> {
  const source = SOURCES[task];
  const files = JSON.parse(await readFile(fixture('datasets/files.json'), 'utf8')) as Record<string, string[]>;
  // ImageNet has no annotation files.
  if (task !== 'imagenet') await cp(fixture(`datasets/${source}`), folder, { recursive: true });
  for (const file of files[source]) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), image);
  }
}

/** Name -> content of the files that the reference's Python makes of a stand-in. */
export function expectedIndex(task: IndexTask): Promise<Map<string, string>> {
  return filesOf(fixture(`datasets/expected/${task}`));
}

/** Name -> content of the files in a folder whose names match. */
export async function filesOf(folder: string, pattern = /\.jsonl$|^answer2label\.txt$/): Promise<Map<string, string>> {
  const names = (await readdir(folder)).filter((name) => pattern.test(name)).sort();
  return new Map(
    await Promise.all(
      names.map(async (name): Promise<[string, string]> => [name, await readFile(join(folder, name), 'utf8')]),
    ),
  );
}

/** The tokenizer with which the expected files were made. */
export function standInTokenizer(): Promise<Tokenizer> {
  return Tokenizer.load(fixture('tokenizer.spm'));
}

/**
 * A stand-in that can be trained on: pictures of different colours, the index files, and for NoCaps the captions of COCO
 * on which it trains. Its tokenizer is `standInTokenizer`, the file test/fixtures/tokenizer.spm.
 */
export async function writeStandIn(task: IndexTask, folder: string): Promise<string> {
  const sources: IndexTask[] = task === 'nocaps' ? ['nocaps', 'coco_captioning'] : [task];
  for (const source of sources) {
    await layOut(source, folder);
    for (const [name, content] of await expectedIndex(source)) await writeFile(join(folder, name), content);
    const files = JSON.parse(await readFile(fixture('datasets/files.json'), 'utf8')) as Record<string, string[]>;
    for (const [i, file] of files[SOURCES[source]].entries()) {
      if (/\.(jpe?g|png)$/i.test(file)) await writePicture(join(folder, file), i);
    }
  }
  return folder;
}

/** A picture of its own for each number: two colours, and a side and height of 20 to 40 pixels. */
export async function writePicture(path: string, number: number): Promise<void> {
  const [width, height] = [20 + ((number * 7) % 21), 20 + ((number * 11) % 21)];
  const color = (i: number): { r: number; g: number; b: number } => ({
    r: (i * 67 + 40) % 256,
    g: (i * 131 + 90) % 256,
    b: (i * 29 + 200) % 256,
  });
  const half = await sharp({ create: { width, height: 10, channels: 3, background: color(number + 1) } })
    .png()
    .toBuffer();
  await sharp({ create: { width, height, channels: 3, background: color(number) } })
    .composite([{ input: half, top: 0, left: 0 }])
    .toFormat(path.endsWith('.png') ? 'png' : 'jpeg')
    .toFile(path);
}

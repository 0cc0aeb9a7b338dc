/** Shards as img2dataset writes them, made quickly: a few hundred pictures, encoded once, over and over. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { trainUnigram } from '../../beit3/tokenizer/index.js';
import { Generator } from '../../core/random.js';
import { type Member, tarOf } from '../../test/beit3/tars.js';

export interface ShardOptions {
  /** Bytes of all shards together, at least. */
  readonly bytes: number;
  /** Pairs of a shard. */
  readonly pairs?: number;
  /** Side of the pictures. */
  readonly side?: number;
  /** How many different pictures there are. */
  readonly pictures?: number;
}

export interface WrittenShards {
  readonly shards: readonly string[];
  readonly pairs: number;
  readonly bytes: number;
  /** A tokenizer for their texts. */
  readonly tokenizer: string;
}

const WORDS =
  'a the red blue old small dog cat cup house street river tree bird man woman sits runs sleeps near on under'.split(
    ' ',
  );

/** Writes shards of JPEG, PNG (every eighth), text and JSON, and a tokenizer, into a folder. */
export async function writeShards(
  folder: string,
  { bytes, pairs = 1000, side = 256, pictures = 200 }: ShardOptions,
): Promise<WrittenShards> {
  await mkdir(folder, { recursive: true });
  const random = new Generator(1);
  const encoded: { readonly ending: string; readonly bytes: Uint8Array }[] = [];
  for (let i = 0; i < pictures; i++) {
    // Noise of some pixels, enlarged: it compresses like a photograph.
    const noise = Uint8Array.from(random.integers(32 * 32 * 3, 0, 256));
    const picture = sharp(noise, { raw: { width: 32, height: 32, channels: 3 } }).resize(side, side);
    const isPng = i % 8 === 7;
    // The size of a PNG of noise would say nothing of pictures.
    const data = isPng
      ? await picture
          .resize(side >> 2)
          .png()
          .toBuffer()
      : await picture.jpeg().toBuffer();
    encoded.push({ ending: isPng ? 'png' : 'jpg', bytes: data });
  }
  const shards: string[] = [];
  let written = 0;
  while (written < bytes) {
    const number = String(shards.length).padStart(5, '0');
    const members = Array.from({ length: pairs }, (_, i): Member[] => {
      const key = `${number}${String(i).padStart(4, '0')}`;
      const { ending, bytes } = encoded[(shards.length * pairs + i) % encoded.length];
      const caption = Array.from(random.integers(12, 0, WORDS.length), (word) => WORDS[word]).join(' ');
      const said = {
        caption,
        url: `https://example.org/${key}.${ending}`,
        key,
        status: 'success',
        width: side,
        height: side,
      };
      return [
        { name: `${key}.${ending}`, bytes },
        { name: `${key}.txt`, bytes: caption },
        { name: `${key}.json`, bytes: JSON.stringify(said) },
      ];
    });
    const archive = tarOf(members.flat());
    const path = join(folder, `${number}.tar`);
    await writeFile(path, archive);
    shards.push(path);
    written += archive.length;
  }
  const tokenizer = join(folder, 'words.spm');
  const sentences = WORDS.map(
    (word, i) => `${word} ${WORDS[(i * 7 + 3) % WORDS.length]} ${WORDS[(i * 5 + 1) % WORDS.length]}`,
  );
  await writeFile(tokenizer, trainUnigram(sentences, { vocabularySize: 200 }).bytes);
  return { shards, pairs: shards.length * pairs, bytes: written, tokenizer };
}

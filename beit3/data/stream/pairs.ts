/** Streams of pictures and what is said of them: tables and WebDataset shards. Node only. */
import { InputError } from '../../../core/errors.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { readTable } from '../table.js';
import { captionOf, pictureOf, readGroups } from './members.js';
import { TAR } from './pictures.js';
import { findShards, isAddress } from './shards.js';
import { type RecordSource, ShuffledStream, type ShuffleOptions } from './shuffled.js';
import type { PairSample, SampleStream } from './stream.js';

const FITS = /\.(tar|jsonl|ndjson|csv|tsv)$/i;
const WHAT = 'pairs: .tar shards of .jpg and .txt, or a .jsonl, .csv or .tsv table of "image" and "caption"';
/** Columns of a table, the first that it has. */
const IMAGE = ['image', 'image_path', 'filepath', 'file', 'path', 'url'];
const CAPTION = ['caption', 'captions', 'text', 'title'];

export interface PairStreamOptions extends ShuffleOptions {
  readonly tokenizer: Tokenizer;
  /** Tokens of a text at most, `<s>` and `</s>` included; longer ones are cut. */
  readonly maxTokens: number;
  /** Told of each text that is cut, with how many tokens it had. */
  readonly onCut?: (where: string, tokens: number) => void;
}

interface RawPair {
  readonly where: string;
  readonly picture: () => PairSample['picture'];
  /** Of several an epoch takes one. */
  readonly captions: () => readonly string[];
}

async function pairShards(patterns: readonly string[]): Promise<string[]> {
  const shards = await findShards(patterns, FITS, WHAT);
  const stray = shards.find((shard) => !FITS.test(shard) || (isAddress(shard) && !TAR.test(shard)));
  if (stray !== undefined) throw new InputError(`${stray} holds no pairs by its name; expected ${WHAT}.`);
  return shards;
}

/**
 * How many pairs there are: the rows of all tables, broken ones included; null where some lie in shards, which do not say.
 * Throws InputError where there are none.
 */
export async function countPairs(patterns: readonly string[]): Promise<number | null> {
  const tables = await pairShards(patterns);
  if (tables.some((shard) => TAR.test(shard))) return null;
  let count = 0;
  for (const table of tables) for await (const _ of readTable(table)) count++;
  return count;
}

/** Opens pairs, by path, pattern or address (of shards). Throws InputError where there are none. */
export async function openPairs(
  patterns: readonly string[],
  { tokenizer, maxTokens, onCut, ...options }: PairStreamOptions,
): Promise<SampleStream<PairSample>> {
  const shards = await pairShards(patterns);
  const source: RecordSource<RawPair, PairSample> = {
    shards,
    read: (shard, from) => (TAR.test(shards[shard]) ? ofShard(shards[shard], from) : ofTable(shards[shard], from)),
    sample: ({ where, picture, captions }, epoch) => {
      const image = picture();
      const texts = captions();
      const { ids } = tokenizer.encode(texts[epoch % texts.length]);
      if (ids.length === 0) throw new InputError(`${where}: its text has no words.`);
      if (ids.length > maxTokens - 2) onCut?.(where, ids.length + 2);
      return { picture: image, tokens: Int32Array.from(ids.slice(0, maxTokens - 2)), where };
    },
  };
  return new ShuffledStream(source, options);
}

async function* ofShard(shard: string, from: readonly number[]) {
  for await (const { record, next, bytes } of readGroups(shard, from)) {
    const raw: RawPair = { where: record.where, picture: () => pictureOf(record), captions: () => [captionOf(record)] };
    yield { record: raw, next, bytes };
  }
}

/** Paths in a table are seen from its folder. */
async function* ofTable(path: string, [from = 0]: readonly number[]) {
  const { dirname, resolve } = await import('node:path');
  const folder = dirname(path);
  let row = 0;
  for await (const { where, texts } of readTable(path)) {
    if (row++ < from) continue;
    const missing = (what: string, columns: readonly string[]): never => {
      throw new InputError(`${where}: there is no ${what}; expected a column ${columns.join(', ')}.`);
    };
    const raw: RawPair = {
      where,
      picture: () => {
        const [image] = texts(IMAGE);
        if (image === undefined) missing('picture', IMAGE);
        return isAddress(image) ? new URL(image) : resolve(folder, image);
      },
      captions: () => {
        const captions = texts(CAPTION);
        return captions.length > 0 ? captions : missing('text', CAPTION);
      },
    };
    yield { record: raw, next: [row], bytes: 0 };
  }
}

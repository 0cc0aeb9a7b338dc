/** Streams of pictures and what is said of them: tables and WebDataset shards. Node only. */
import { InputError } from '../../../core/errors.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { readTable, type TableRow } from '../table.js';
import { captionOf, type MemberGroup, pictureOf, placeOf, readGroups } from './members.js';
import { findShards, isAddress, isTar } from './shards.js';
import { type Place, type Record, type RecordSource, ShuffledStream, type ShuffleOptions } from './shuffled.js';
import type { PairSample, SampleStream } from './stream.js';

const TABLE = /\.(jsonl|ndjson|csv|tsv)$/i;
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

/** A row of a table. */
interface Row extends TableRow {
  /** A path as it is seen from the folder of the table. */
  readonly pathOf: (path: string) => string;
}

type RawPair = MemberGroup | Row;

async function pairShards(patterns: readonly string[]): Promise<string[]> {
  const shards = await findShards(patterns, FITS, WHAT);
  const stray = shards.find((shard) => !isTar(shard) && (isAddress(shard) || !TABLE.test(shard)));
  if (stray !== undefined) throw new InputError(`${stray} holds no pairs by its name; expected ${WHAT}.`);
  return shards;
}

/**
 * How many pairs there are: the rows of all tables, broken ones included; null where some lie in shards, which do not say.
 * Throws InputError where there are none.
 */
export async function countPairs(patterns: readonly string[]): Promise<number | null> {
  const tables = await pairShards(patterns);
  if (tables.some(isTar)) return null;
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
    read: (shard, from) => (isTar(shards[shard]) ? readGroups(shards[shard], from) : rowsOf(shards[shard], from)),
    sample: (raw, epoch) => {
      const where = isRow(raw) ? raw.where : placeOf(raw);
      const picture = isRow(raw) ? pictureIn(raw) : pictureOf(raw);
      const { ids } = tokenizer.encode(isRow(raw) ? captionIn(raw, epoch) : captionOf(raw));
      if (ids.length === 0) throw new InputError(`${where}: its text has no words.`);
      if (ids.length > maxTokens - 2) onCut?.(where, ids.length + 2);
      return { picture, tokens: Int32Array.from(ids.slice(0, maxTokens - 2)), where };
    },
  };
  return new ShuffledStream(source, options);
}

async function* rowsOf(path: string, [from = 0]: Place): AsyncGenerator<Record<RawPair>> {
  const { dirname, resolve } = await import('node:path');
  const pathOf = (image: string): string => resolve(dirname(path), image);
  let count = 0;
  for await (const row of readTable(path)) {
    if (count++ < from) continue;
    yield { record: { ...row, pathOf }, next: [count], bytes: 0 };
  }
}

function isRow(raw: RawPair): raw is Row {
  return 'pathOf' in raw;
}

function missing({ where }: Row, what: string, columns: readonly string[]): never {
  throw new InputError(`${where}: there is no ${what}; expected a column ${columns.join(', ')}.`);
}

function pictureIn(row: Row): PairSample['picture'] {
  const [image] = row.texts(IMAGE);
  if (image === undefined) return missing(row, 'picture', IMAGE);
  return isAddress(image) ? new URL(image) : row.pathOf(image);
}

/** Of several captions an epoch takes one. */
function captionIn(row: Row, epoch: number): string {
  const captions = row.texts(CAPTION);
  return captions.length > 0 ? captions[epoch % captions.length] : missing(row, 'text', CAPTION);
}

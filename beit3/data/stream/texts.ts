/** Streams of texts: files of one text a line, packed to a length. Node only. */
import { InputError } from '../../../core/errors.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { readLines } from '../jsonl.js';
import { findShards } from './shards.js';
import { type Place, type Record, type RecordSource, ShuffledStream, type ShuffleOptions } from './shuffled.js';
import type { SampleStream, TextSample } from './stream.js';

const TEXT = /\.(txt|jsonl|ndjson)$/i;
const WHAT = 'texts: .txt files of one text a line, or .jsonl with "text"';

export interface TextStreamOptions extends ShuffleOptions {
  readonly tokenizer: Tokenizer;
  /** Tokens of a sample, `<s>` and `</s>` included, as the model takes them. */
  readonly length: number;
}

/**
 * Opens texts, by path or pattern. Lines are cut into tokens as they come and packed: samples are stretches of whole
 * length, in which texts stand one after the other with `</s>` between them. Throws InputError where there are none.
 */
export async function openTexts(
  patterns: readonly string[],
  { tokenizer, length, ...options }: TextStreamOptions,
): Promise<SampleStream<TextSample>> {
  if (!Number.isSafeInteger(length) || length < 3)
    throw new InputError(`The length of texts is a whole number of at least 3 tokens, got ${length}.`);
  const shards = await findShards(patterns, TEXT, WHAT);
  const stray = shards.find((shard) => !TEXT.test(shard));
  if (stray !== undefined) throw new InputError(`${stray} holds no texts by its name; expected ${WHAT}.`);
  const source: RecordSource<TextSample, TextSample> = {
    shards,
    read: (shard, from) => packed(shards[shard], from, tokenizer, length - 2),
    sample: (record) => record,
  };
  return new ShuffledStream(source, options);
}

/** Stretches of `length` tokens; a place is a line, from 0, and a token in it. The rest at the end of a file is given too. */
async function* packed(
  path: string,
  [line = 0, token = 0]: Place,
  tokenizer: Tokenizer,
  length: number,
): AsyncGenerator<Record<TextSample>> {
  const isJson = !/\.txt$/i.test(path);
  let ids: number[] = [];
  let first = line + 1;
  let at = 0;
  for await (const { text, number } of readLines(path, WHAT)) {
    at = number;
    if (number - 1 < line) continue;
    const own = tokenizer.encode(isJson ? textOf(text, path, number) : text).ids;
    let from = number - 1 === line ? token : 0;
    if (ids.length > 0 && from === 0) ids.push(tokenizer.endId);
    else if (ids.length === 0) first = number;
    while (ids.length + own.length - from >= length) {
      const taken = Math.max(0, length - ids.length);
      const tokens = Int32Array.from([...ids, ...own.slice(from, from + taken)].slice(0, length));
      from += taken;
      ids = [];
      // A line that is used up is passed over next time.
      const next = from < own.length ? [number - 1, from] : [number, 0];
      yield { record: { tokens, where: `${path}:${first}` }, next, bytes: 4 * length };
      first = number;
      if (from >= own.length) break;
    }
    ids.push(...own.slice(from));
  }
  if (ids.length > 0)
    yield { record: { tokens: Int32Array.from(ids), where: `${path}:${first}` }, next: [at, 0], bytes: 4 * length };
}

function textOf(line: string, path: string, number: number): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new InputError(`${path}:${number} is not valid JSON.`);
  }
  const text = typeof value === 'string' ? value : (value as { text?: unknown } | null)?.text;
  if (typeof text === 'string') return text;
  throw new InputError(`${path}:${number}: expected a string, or an object with "text".`);
}

/** Streams of texts: files of one text a line, packed to a length. Node only. */
import { InputError } from '../../../core/errors.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { type Line, parseLine, readLines } from '../jsonl.js';
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
  const source: RecordSource<TextSample | InputError, TextSample> = {
    shards,
    read: (shard, from) => packed(shards[shard], from, tokenizer, length - 2),
    sample: (record) => {
      if (record instanceof InputError) throw record;
      return record;
    },
  };
  return new ShuffledStream(source, options);
}

/**
 * Stretches of `length` tokens; a place is a line, from 0, a token in it, and the byte where the line begins. The rest
 * before a broken line and at the end of a file is given too.
 */
async function* packed(
  path: string,
  [line = 0, token = 0, byte = 0]: Place,
  tokenizer: Tokenizer,
  length: number,
): AsyncGenerator<Record<TextSample | InputError>> {
  const isJson = !/\.txt$/i.test(path);
  let ids: number[] = [];
  let first = line + 1;
  let end: Place = [line, token, byte];
  const given = (tokens: readonly number[], next: Place): Record<TextSample> => {
    const record = { tokens: Int32Array.from(tokens), where: `${path}:${first}` };
    return { record, next, bytes: 4 * length };
  };
  for await (const now of readLines(path, WHAT, undefined, { line, byte })) {
    const { number, start } = now;
    let own: readonly number[];
    try {
      own = tokenizer.encode(isJson ? textOf(now, path) : now.text).ids;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (ids.length > 0) yield given(ids, [number - 1, 0, start]);
      ids = [];
      end = [number, 0, now.end];
      yield { record: error, next: end, bytes: 0 };
      continue;
    }
    let from = number - 1 === line ? token : 0;
    if (ids.length > 0 && from === 0) ids.push(tokenizer.endId);
    else if (ids.length === 0) first = number;
    end = [number, 0, now.end];
    while (ids.length + own.length - from >= length) {
      const taken = Math.max(0, length - ids.length);
      const tokens = [...ids, ...own.slice(from, from + taken)].slice(0, length);
      from += taken;
      ids = [];
      // A line that is used up is passed over next time.
      yield given(tokens, from < own.length ? [number - 1, from, start] : end);
      first = number;
      if (from >= own.length) break;
    }
    ids.push(...own.slice(from));
  }
  if (ids.length > 0) yield given(ids, end);
}

function textOf(line: Line, path: string): string {
  const value = parseLine(path, line);
  const text = typeof value === 'string' ? value : (value as { text?: unknown } | null)?.text;
  if (typeof text === 'string') return text;
  throw new InputError(`${path}:${line.number}: expected a string, or an object with "text".`);
}

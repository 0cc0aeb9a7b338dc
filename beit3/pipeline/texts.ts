import { InputError } from '../../core/errors.js';
import type { Beit3Config } from '../config.js';
import { Tokenizer } from '../tokenizer/index.js';
import type { PipelineOptions } from './options.js';

/** Token ids [B, T] of texts framed by <s> and </s>, filled up with <pad> to the longest. */
export interface TextBatch {
  readonly ids: Int32Array;
  /** [B, T], 1 = padding; null when there is none. */
  readonly padding: Uint8Array | null;
  readonly shape: readonly [number, number];
}

/** Tokens of a text at most, <s> and </s> included: positions count from 2. */
export function longestText(config: Pick<Beit3Config, 'max_source_positions'>): number {
  return config.max_source_positions - 2;
}

/** Throws InputError where texts of `length` tokens do not fit the model; `flags` say what sets the length. */
export function expectTextLength(config: Beit3Config, length: number, flags: string): void {
  const most = longestText(config);
  if (length > most)
    throw new InputError(`The model takes ${most} tokens of a text at most, got ${length}; lower ${flags}.`);
}

/** The words of a generated row of token ids, and their ids. */
export function captionOf(tokenizer: Tokenizer, row: readonly number[]): { text: string; ids: number[] } {
  const { maskId, startId, endId, padId, vocabularySize } = tokenizer;
  const ids = row.filter((id) => id !== startId && id !== endId && id !== padId && id !== maskId);
  // The word table may have more rows than the tokenizer has tokens; those stand for no word.
  return { text: tokenizer.decode(ids.filter((id) => id < vocabularySize)), ids };
}

/** The tokenizer that was given or lies beside the checkpoint, refused when it does not fit the word table. */
export async function loadTokenizer(options: PipelineOptions, config: Beit3Config): Promise<Tokenizer> {
  const { tokenizer } = options;
  if (tokenizer instanceof Tokenizer) return fitting(tokenizer, 'The tokenizer', config);
  const source = tokenizer ?? (await tokenizerBeside(options.checkpoint));
  const loaded = await Tokenizer.load(source);
  return fitting(loaded, typeof source === 'string' ? source : 'The tokenizer', config);
}

function fitting(tokenizer: Tokenizer, name: string, { vocab_size }: Beit3Config): Tokenizer {
  if (tokenizer.maskId < vocab_size) return tokenizer;
  throw new InputError(
    `${name} does not fit the model: it has ${tokenizer.vocabularySize} tokens, but the word table has ${vocab_size} rows; give the tokenizer that the model was trained with.`,
  );
}

const USUAL_NAMES = ['beit3.spm', 'tokenizer.spm'];

/** The .spm file beside a checkpoint. Throws InputError where there is none, or several. */
export async function tokenizerBeside(checkpoint: PipelineOptions['checkpoint']): Promise<string> {
  if (typeof checkpoint !== 'string') {
    throw new InputError('This task reads text and needs a tokenizer; give the .spm file of the model (beit3.spm).');
  }
  const { readdir } = await import('node:fs/promises');
  const { dirname, join } = await import('node:path');
  const folder = dirname(checkpoint);
  const found = (await readdir(folder).catch((): string[] => [])).filter((name) => name.endsWith('.spm')).sort();
  const name = USUAL_NAMES.find((usual) => found.includes(usual)) ?? (found.length === 1 ? found[0] : undefined);
  if (name !== undefined) return join(folder, name);
  const why =
    found.length > 1 ? `${found.join(' and ')} lie beside ${checkpoint}` : `no .spm file lies beside ${checkpoint}`;
  throw new InputError(
    `This task reads text and needs a tokenizer, but ${why}; give it as the tokenizer option or --tokenizer (official models use beit3.spm).`,
  );
}

/** Texts as the model takes them. Throws InputError for one that is empty or longer than the model. */
export function encodeTexts(
  tokenizer: Tokenizer,
  texts: readonly string[],
  config: Pick<Beit3Config, 'max_source_positions'>,
): TextBatch {
  const most = longestText(config);
  const rows = texts.map((text) => {
    if (typeof text !== 'string') throw new InputError(`Expected a text, got ${text === null ? 'null' : typeof text}.`);
    const { ids } = tokenizer.encode(text, { addSpecial: true });
    const shown = text.length > 40 ? `${text.slice(0, 40)}...` : text;
    if (ids.length === 2) throw new InputError(`The text ${JSON.stringify(shown)} has no words; give at least one.`);
    if (ids.length > most) {
      throw new InputError(
        `The text ${JSON.stringify(shown)} has ${ids.length} tokens, <s> and </s> included, but this model takes at most ${most}; shorten it.`,
      );
    }
    return ids;
  });
  const T = rows.reduce((n, row) => Math.max(n, row.length), 0);
  const ids = new Int32Array(rows.length * T).fill(tokenizer.padId);
  const padding = new Uint8Array(rows.length * T).fill(1);
  rows.forEach((row, b) => {
    ids.set(row, b * T);
    padding.fill(0, b * T, b * T + row.length);
  });
  return { ids, padding: padding.includes(1) ? padding : null, shape: [rows.length, T] };
}

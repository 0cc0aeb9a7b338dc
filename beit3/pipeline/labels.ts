/** Names of classes and answers, from the files in which people keep them. */
import { InputError } from '../../core/errors.js';
import { type ByteSource, readBytes, sourceName } from '../readBytes.js';

const WHAT = 'the labels';
const MAX_BYTES = 64 << 20;

/** The labels of `count` classes. Throws InputError for a file that is none, or has another number of them. */
export async function loadLabels(source: ByteSource | readonly string[], count: number): Promise<readonly string[]> {
  if (Array.isArray(source)) return checked(source, count, 'The list of labels');
  const given = source as ByteSource;
  const name = sourceName(given, WHAT);
  const bytes = await readBytes(given, { what: WHAT, maxBytes: MAX_BYTES });
  return checked(parseLabels(decodeText(bytes, name), name), count, name);
}

/**
 * Labels in order of their numbers: one a line; a JSON array; a JSON object from number to label or from label to
 * number; or a line `{"answer": "yes", "label": 3}` for each, as VQA has them. Throws InputError.
 */
export function parseLabels(text: string, name: string): string[] {
  const content = text.trim();
  if (content === '') throw new InputError(`${name} is empty; expected one label a line, or JSON.`);
  if (content[0] !== '[' && content[0] !== '{') {
    const lines = text.replace(/\s+$/, '').split(/\r?\n/);
    return numbered(
      lines.map((line, i) => [i, line.trim()]),
      name,
    );
  }
  const json = parse(content);
  if (Array.isArray(json))
    return numbered(
      json.map((label, i) => [i, label]),
      name,
    );
  const lines = isAnswer(json) ? [json] : json === undefined ? content.split(/\r?\n/).map(parse) : null;
  if (lines) {
    if (!lines.every(isAnswer)) {
      throw new InputError(
        `${name} holds no labels: expected one label a line, JSON, or lines like {"answer": "yes", "label": 3}.`,
      );
    }
    return numbered(
      lines.map(({ answer, label }) => [label, answer]),
      name,
    );
  }
  const entries = Object.entries(json as object);
  const toNumber = entries.every(([, value]) => typeof value === 'number');
  return numbered(
    entries.map(([key, value]) => (toNumber ? [value, key] : [Number(key), value])),
    name,
  );
}

function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${name} is not a text file; expected one label a line, or JSON.`);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isAnswer(value: unknown): value is { answer: unknown; label: unknown } {
  return typeof value === 'object' && value !== null && 'answer' in value && 'label' in value;
}

/** Every number from 0 on must come once, with a text; of a list such as ["n01440764", "tench"] the last one counts. */
function numbered(pairs: readonly (readonly [unknown, unknown])[], name: string): string[] {
  const labels = new Array<string | undefined>(pairs.length);
  for (const [index, value] of pairs) {
    const label: unknown = Array.isArray(value) ? value.at(-1) : value;
    if (!Number.isInteger(index) || (index as number) < 0 || (index as number) >= pairs.length) {
      throw new InputError(
        `${name}: expected labels numbered from 0 to ${pairs.length - 1}, got the number ${JSON.stringify(index)}.`,
      );
    }
    if (typeof label !== 'string' || label === '') {
      const why = label === '' ? 'empty' : 'not a text';
      throw new InputError(`${name}: label ${String(index)} is ${why}; every class needs a name.`);
    }
    if (labels[index as number] !== undefined) throw new InputError(`${name}: label ${String(index)} is there twice.`);
    labels[index as number] = label;
  }
  return labels as string[];
}

function checked(labels: readonly string[], count: number, name: string): readonly string[] {
  if (labels.length === count) return labels;
  throw new InputError(
    `${name} has ${labels.length} labels, but the model tells ${count} classes apart; give the list it was trained with.`,
  );
}

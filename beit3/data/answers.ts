import { InputError } from '../../core/errors.js';
import { parseLabels } from '../pipeline/labels.js';
import { type ByteSource, readBytes, sourceName } from '../readBytes.js';

const WHAT = 'a list of answers';
const MAX_BYTES = 64 << 20;

/**
 * The answers that a VQA model chooses from, in the order of their numbers: answer2label.txt, one answer a line, or
 * JSON. Throws InputError for a file that is none, and for an answer that is there twice.
 */
export async function readAnswers(source: ByteSource): Promise<string[]> {
  const name = sourceName(source, WHAT);
  const answers = parseLabels(
    new TextDecoder().decode(await readBytes(source, { what: WHAT, maxBytes: MAX_BYTES })),
    name,
  );
  const seen = new Set<string>();
  for (const answer of answers) {
    if (seen.has(answer)) throw new InputError(`${name}: the answer ${JSON.stringify(answer)} is there twice.`);
    seen.add(answer);
  }
  return answers;
}

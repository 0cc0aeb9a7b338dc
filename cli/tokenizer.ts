import { Tokenizer } from '../beit3/tokenizer/index.js';
import { cacheDirectory } from '../checkpoints/index.js';
import { InputError } from '../core/errors.js';
import type { Args } from './args.js';
import type { Flag } from './command.js';

/** The flag of commands that read text without a model. */
export const TOKENIZER_FLAG: Flag = {
  value: 'FILE',
  help: 'A .spm file.',
  default: 'beit3.spm, where beit3 pull put it',
};

/** The tokenizer of --tokenizer, else the official one if it was downloaded. Throws InputError when there is none. */
export async function tokenizerOf(args: Args, command: string): Promise<Tokenizer> {
  return Tokenizer.load(args.text('tokenizer') ?? (await pulledTokenizer(command)));
}

async function pulledTokenizer(command: string): Promise<string> {
  const { join } = await import('node:path');
  const { existsSync } = await import('node:fs');
  const path = join(await cacheDirectory(), 'beit3.spm');
  if (existsSync(path)) return path;
  throw new InputError(
    `beit3 ${command} needs a tokenizer: give one with --tokenizer FILE, or download the official one with beit3 pull beit3.spm.`,
  );
}

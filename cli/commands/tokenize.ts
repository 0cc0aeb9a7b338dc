import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { cacheDirectory } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import type { Command } from '../command.js';
import { printable, table } from '../format.js';

export const command: Command = {
  usage: ['tokenize TEXT [--tokenizer FILE]'],
  about: 'Cuts a text into pieces and numbers them as BEiT-3 does (SentencePiece unigram, numbers of XLM-RoBERTa).',
  flags: {
    tokenizer: { value: 'FILE', help: 'A .spm file.', default: 'beit3.spm, where beit3 pull put it' },
    special: { help: 'Frame the text with <s> and </s>.' },
  },
  examples: ['beit3 tokenize "a red panda" --tokenizer beit3.spm --json'],
  async run(args, context) {
    const [text] = args.expect(1, 1, 'one text (in quotes)');
    const tokenizer = await Tokenizer.load(args.text('tokenizer') ?? (await pulledTokenizer()));
    const { pieces, ids } = tokenizer.encode(text, { addSpecial: args.has('special') });
    if (context.wantsJson) context.json({ text, pieces, ids });
    else if (ids.length > 0) context.out(table(ids.map((id, i) => [String(id), printable(pieces[i])])));
  },
};

async function pulledTokenizer(): Promise<string> {
  const { join } = await import('node:path');
  const { existsSync } = await import('node:fs');
  const path = join(await cacheDirectory(), 'beit3.spm');
  if (existsSync(path)) return path;
  throw new InputError(
    'beit3 tokenize needs a tokenizer: give one with --tokenizer FILE, or download the official one with beit3 pull beit3.spm.',
  );
}

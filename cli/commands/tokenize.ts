import type { Command } from '../command.js';
import { printable, table } from '../format.js';
import { TOKENIZER_FLAG, tokenizerOf } from '../tokenizer.js';

export const command: Command = {
  usage: ['tokenize TEXT [--tokenizer FILE]'],
  about: 'Cuts a text into pieces and numbers them as BEiT-3 does (SentencePiece unigram, numbers of XLM-RoBERTa).',
  flags: {
    tokenizer: TOKENIZER_FLAG,
    special: { help: 'Frame the text with <s> and </s>.' },
  },
  examples: ['beit3 tokenize "a red panda" --tokenizer beit3.spm --json'],
  async run(args, context) {
    const [text] = args.expect(1, 1, 'one text (in quotes)');
    const tokenizer = await tokenizerOf(args, 'tokenize');
    const { pieces, ids } = tokenizer.encode(text, { addSpecial: args.has('special') });
    if (context.wantsJson) context.json({ text, pieces, ids });
    else if (ids.length > 0) context.out(table(ids.map((id, i) => [String(id), printable(pieces[i])])));
  },
};

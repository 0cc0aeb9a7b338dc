import { pull, WEIGHTS } from '../../checkpoints/index.js';
import type { Command } from '../command.js';

export const command: Command = {
  usage: ['pull NAME', 'pull --list'],
  about:
    'Downloads official weights, or beit3.spm, the tokenizer, and prints the path. A download that broke off is continued; where the publisher gave a hash, it is checked.',
  flags: {
    list: { help: 'List the names.' },
    output: { value: 'FOLDER', help: 'Where the file goes.', default: '$AZULEJO_CACHE or ~/.cache/azulejo' },
  },
  examples: ['beit3 pull beit3.spm', 'beit3 pull beit3_base_patch16_224_in1k'],
  async run(args, context) {
    if (args.has('list')) {
      args.expect(0, 0, 'no name beside --list');
      if (context.wantsJson) context.json({ weights: WEIGHTS });
      else for (const { name } of WEIGHTS) context.out(name);
      return;
    }
    const [name] = args.expect(1, 1, 'the name of official weights (beit3 pull --list shows them)');
    const progress = context.progress(name);
    const path = await pull(name, {
      directory: args.text('output'),
      onProgress: ({ received, total }) => progress.update(received, total),
    }).finally(() => progress.end());
    if (context.wantsJson) context.json({ name, path });
    else context.out(path);
  },
};

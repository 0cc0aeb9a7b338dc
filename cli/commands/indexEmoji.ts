import { expectFree, writeEmojiIndex } from '../../beit3/emoji/benchmark/files.js';
import { loadEmojiCorpus } from '../../beit3/emoji/corpus.js';
import { readBytes } from '../../beit3/readBytes.js';
import { InputError } from '../../core/errors.js';
import type { Args } from '../args.js';
import type { Context, Flags } from '../command.js';
import { grouped } from '../format.js';
import { ProgressLines } from '../progress.js';

/** The name of the emoji benchmark among the tasks of `beit3 index`. */
export const EMOJI = 'emoji';

/** Flags that only the emoji benchmark has. */
export const EMOJI_FLAGS: Flags = {
  size: { value: 'N', help: 'emoji: the side of the pictures in pixels, 8 to 128.', default: '32' },
  'held-out': { value: 'STYLE', help: 'emoji: the style that is never trained on.', default: 'twemoji' },
  'zero-shot': { value: 'S', help: 'emoji: share of the emoji that are never trained on, 0 to 0.5.', default: '0.1' },
};

const OTHER_FLAGS = ['output', 'seed', 'tokenizer'];
/** At more the corpus does not fit into memory. */
const LARGEST = 128;

const TOKENIZER = { what: 'a tokenizer, a .spm file', maxBytes: 64 << 20 };

/** Draws the benchmark into a folder; `flags` are all of `beit3 index`. */
export async function indexEmoji(args: Args, context: Context, flags: readonly string[]): Promise<undefined> {
  const stray = flags.find((flag) => args.has(flag) && !(flag in EMOJI_FLAGS) && !OTHER_FLAGS.includes(flag));
  if (stray !== undefined)
    throw new InputError(`--${stray} has no meaning for emoji; leave it out, or see beit3 index --help.`);
  const output = args.required('output', 'the folder to make');
  await expectFree(output);
  const tokenizerPath = args.text('tokenizer');
  const lines = new ProgressLines(context, grouped);
  try {
    const onProgress = (what: string, done: number, total: number | null): void => lines.update(what, done, total);
    const size = args.whole('size', 8, LARGEST) ?? 32;
    const seed = args.whole('seed', 0, Number.MAX_SAFE_INTEGER);
    const corpus = await loadEmojiCorpus({
      size,
      onProgress: (done, all) => onProgress('drawing pictures', done, all),
    });
    const report = await writeEmojiIndex(corpus, {
      output,
      seed,
      heldOutStyle: args.text('held-out'),
      zeroShotShare: args.number('zero-shot', 0, 0.5),
      tokenizer: tokenizerPath === undefined ? undefined : await readBytes(tokenizerPath, TOKENIZER),
      onProgress,
    });
    if (context.wantsJson) context.json({ task: EMOJI, output, ...report });
    else {
      for (const [split, { pictures, emoji }] of Object.entries(report.splits))
        context.out(`${split}: ${grouped(pictures)} pictures of ${grouped(emoji)} emoji`);
      for (const { path, rows } of report.files) {
        // Folders of their own hold the same files.
        if (!path.includes('/') && rows > 0) context.out(`${output}/${path}: ${grouped(rows)} rows`);
      }
    }
  } finally {
    lines.end();
  }
}

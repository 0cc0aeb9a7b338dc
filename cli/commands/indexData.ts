import {
  type IndexReport,
  type IndexTask,
  indexClassFolders,
  indexTable,
  makeIndex,
  type OwnIndexOptions,
  readAnswers,
  TASK_OF,
} from '../../beit3/data/index/index.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import type { Args } from '../args.js';
import type { Command, Context } from '../command.js';
import { grouped, megabytes } from '../format.js';
import { ProgressLines } from '../progress.js';
import { TOKENIZER_FLAG, tokenizerOf } from '../tokenizer.js';
import { EMOJI, EMOJI_FLAGS, indexEmoji } from './indexEmoji.js';

const TASKS = Object.keys(TASK_OF) as IndexTask[];
/** They hold no texts. */
const WITHOUT_TEXT: readonly IndexTask[] = ['imagenet', 'nocaps'];

export const command: Command = {
  usage: [
    `index TASK --data DIR [--annotations DIR] [--output DIR] [--tokenizer FILE] [--split NAME]`,
    'index TASK --data DIR --table FILE [--val-share S] [--test-share S] [--answers FILE]',
    'index imagenet --data DIR --val-share S',
    'index emoji --output DIR [--size N] [--held-out STYLE] [--zero-shot S] [--tokenizer FILE]',
  ],
  about: `Writes the index files that training and evaluation read, and that the official Python code reads as well. TASK is one of ${TASKS.join(', ')}. From the official annotation files the index equals that of the official code byte for byte. With --table it is made from your own images: a .csv or .tsv with a header, or a .jsonl, with the columns image and text (retrieval, captioning), question and answer (vqav2), image2, text and label (nlvr2) or label (imagenet), and split if you like. The third form takes a folder of class folders. The last draws the emoji benchmark, with pictures, texts and a tokenizer for all five tasks; it works in a checkout of this project with its development dependencies. All files appear together, or none.`,
  flags: {
    data: {
      value: 'DIR',
      help: 'The folder with the images; paths in the index are relative to it. Required, but for emoji.',
    },
    annotations: {
      value: 'DIR',
      help: 'The annotation files: the folder of the v2_*.json (vqav2), the nlvr repository (nlvr2), else that of the JSON files.',
      default: 'vqa/ in DIR, nlvr/ in DIR, else DIR',
    },
    output: { value: 'DIR', help: 'Where the index files go.', default: 'the folder of --data' },
    tokenizer: { ...TOKENIZER_FLAG, help: 'The .spm file that turns texts into token ids.' },
    split: {
      value: 'NAME',
      help: 'Only this split: train, val (dev for nlvr2), test (test-P for nlvr2).',
      default: 'all',
      many: true,
    },
    table: { value: 'FILE', help: 'Your own images and texts: .csv, .tsv or .jsonl.' },
    'val-share': {
      value: 'S',
      help: 'Share of your images for validation, 0 to 0.9. Without --table: DIR holds class folders.',
      default: '0.1',
    },
    'test-share': { value: 'S', help: 'Share of the images of a table for the test.', default: '0.1, imagenet 0' },
    answers: {
      value: 'FILE',
      help: 'Answers to choose from, for vqav2: answer2label.txt, one a line, or JSON.',
      default: 'counted',
    },
    seed: { value: 'N', help: "Draws the shares, and VQAv2's own order of images.", default: '0' },
    ...EMOJI_FLAGS,
  },
  examples: [
    'beit3 index vqav2 --data coco --tokenizer beit3.spm',
    'beit3 index coco_retrieval --data photos --table captions.csv',
    'beit3 index imagenet --data pets --val-share 0.2',
    'beit3 index emoji --output emoji',
  ],
  async run(args, context) {
    const names = [...TASKS, EMOJI];
    const [name] = args.expect(1, 1, `a task (${names.join(', ')})`);
    if (name === EMOJI) return indexEmoji(args, context, Object.keys(command.flags));
    const task = TASKS.find((known) => known === name);
    if (!task) {
      throw new InputError(
        `There is no index of ${JSON.stringify(name)}; the nearest is ${nearest(name, names)} (of ${names.join(', ')}).`,
      );
    }
    refuseStray(args, task);
    const report = await make(task, args, context);
    for (const note of report.notes) context.note(note);
    if (context.wantsJson) context.json({ task, files: report.files, notes: report.notes });
    else for (const { path, rows } of report.files) context.out(rows > 0 ? `${path}: ${grouped(rows)} rows` : path);
    return undefined;
  },
};

/** Flags that would change nothing are refused: who gave them expects something of them. */
function refuseStray(args: Args, task: IndexTask): void {
  const isTable = args.has('table');
  const isFolders = !isTable && task === 'imagenet' && args.has('val-share');
  const own = isTable || isFolders;
  const stray = [
    ...Object.keys(EMOJI_FLAGS),
    ...(own ? ['annotations', 'split'] : ['val-share', 'seed']),
    ...(isTable ? [] : ['test-share']),
    ...(task === 'vqav2' ? [] : ['answers']),
  ].find((flag) => args.has(flag) && !(flag === 'seed' && task === 'vqav2'));
  if (stray === undefined) return;
  const form = isTable ? 'with --table' : isFolders ? 'with --val-share' : `for ${task} without --table`;
  throw new InputError(`--${stray} has no meaning ${form}; leave it out, or see beit3 index --help.`);
}

async function make(task: IndexTask, args: Args, context: Context): Promise<IndexReport> {
  const data = args.required('data', 'the folder with the images');
  const table = args.text('table');
  const answers = args.text('answers');
  const lines = new ProgressLines(context, megabytes);
  const options: OwnIndexOptions = {
    data,
    output: args.text('output'),
    tokenizer: WITHOUT_TEXT.includes(task) ? undefined : await tokenizerOf(args, 'index'),
    seed: args.whole('seed', 0, Number.MAX_SAFE_INTEGER),
    answers: answers === undefined ? undefined : await readAnswers(answers),
    valShare: args.number('val-share', 0, 0.9),
    testShare: args.number('test-share', 0, 0.9),
    onProgress: (what, done, total) => lines.update(what, done, total),
  };
  try {
    if (table !== undefined) return await indexTable(task, table, options);
    if (options.valShare !== undefined) return await indexClassFolders(options);
    const splits = args.has('split') ? args.texts('split') : undefined;
    return await makeIndex(task, { ...options, annotations: args.text('annotations'), splits });
  } finally {
    lines.end();
  }
}

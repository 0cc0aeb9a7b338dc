/**
 * Index files from what people bring: a folder of class folders, or a table of images and texts. They have the names of
 * the official task, so that training takes them (and the reference's Python does too).
 */
import { InputError } from '../../../core/errors.js';
import type { Task } from '../../config.js';
import { normalizeAnswer } from '../../metrics/answers.js';
import { PythonRandom } from '../pythonRandom.js';
import { type IndexRows, type IndexTask, TASK_OF } from '../rows.js';
import { readTable, type TableRow } from '../table.js';
import { filesBelow, list } from './imagenet.js';
import { type IndexJob, type IndexOptions, type IndexReport, runIndex } from './job.js';
import { vqaLabelScore, writeAnswers } from './vqav2.js';

export interface OwnIndexOptions extends Omit<IndexOptions, 'annotations' | 'splits'> {
  /** Share of the images that is kept for validation where the table has no column `split`; 0.1 without it. */
  readonly valShare?: number;
  /** The same for the test; 0.1 without it. Classes are tested on the validation images. */
  readonly testShare?: number;
}

type Split = 'train' | 'val' | 'test';
const SPLITS: readonly Split[] = ['train', 'val', 'test'];
const SPLIT_NAMES: ReadonlyMap<string, Split> = new Map([
  ['train', 'train'],
  ['training', 'train'],
  ['restval', 'train'],
  ['val', 'val'],
  ['valid', 'val'],
  ['validation', 'val'],
  ['dev', 'val'],
  ['test', 'test'],
]);

const IMAGE = ['image', 'image_path', 'file', 'file_name', 'filename', 'path'];
const IMAGE_2 = ['image2', 'image2_path', 'right'];
const TEXT = ['text', 'caption', 'captions', 'sentence', 'texts', 'title'];
const QUESTION = ['question', 'text'];
const ANSWER = ['answer', 'answers'];
const LABEL = ['label', 'class', 'category'];
const SPLIT = ['split'];

/** Annotators of an official question; from so many answers on they are scored as the reference does. */
const ANNOTATORS = 10;
const IMAGE_ENDING = /\.(png|jpe?g|jpe|jfif|webp|gif|avif|tiff?)$/i;
const DEFAULT_SHARE = 0.1;
/** Names of classes, one a line: what `beit3 classify --labels` reads. */
const LABELS_FILE = 'labels.txt';

/**
 * imagenet.{train,val}.index.jsonl and labels.txt from the folders in `data`, each of which is a class with its images
 * in it and below; hidden files and those without the ending of an image are left out. Of every class the share
 * `valShare` is kept for validation, at least one image where it has two. Throws InputError where there are no classes.
 */
export function indexClassFolders(options: OwnIndexOptions): Promise<IndexReport> {
  return runIndex(options, '', async (job) => {
    const { data, valShare = DEFAULT_SHARE, seed = 0 } = options;
    const random = new PythonRandom(seed);
    const classes: string[] = [];
    const rows: Record<'train' | 'val', IndexRows['imageclassification'][]> = { train: [], val: [] };
    let others = 0;
    for (const name of (await list(data, '')).folders.filter((folder) => !folder.startsWith('.'))) {
      job.step('listing', classes.length, null);
      const files = await filesBelow(data, name);
      const images = files.filter((file) => IMAGE_ENDING.test(file) && !/(^|\/)\./.test(file));
      others += files.length - images.length;
      if (images.length === 0) {
        job.notes.push(`The folder ${name} has no images and is no class.`);
        continue;
      }
      const label = classes.push(name) - 1;
      const kept = new Set(sample(images, valShare, random));
      for (const image_path of images) rows[kept.has(image_path) ? 'val' : 'train'].push({ image_path, label });
    }
    if (classes.length < 2)
      throw new InputError(
        `${data} has ${classes.length} folders with images; expected two or more, one for each class.`,
      );
    if (others > 0) job.notes.push(`${others} files are no images by their names and were left out.`);
    await job.write('imagenet.train.index.jsonl', rows.train);
    await job.write('imagenet.val.index.jsonl', rows.val);
    await writeLabels(job, classes);
  });
}

/** A random share of `items`, at least one of two or more, never all; none for the share 0. */
function sample<T>(items: readonly T[], share: number, random: PythonRandom): T[] {
  const shuffled = [...items];
  random.shuffle(shuffled);
  if (share === 0) return [];
  return shuffled.slice(0, Math.min(Math.max(Math.round(items.length * share), 1), items.length - 1));
}

async function writeLabels(job: IndexJob, labels: readonly string[]): Promise<void> {
  const writer = await job.open(LABELS_FILE);
  // A line end inside a name would make two of it.
  await writer.writeText(labels.map((label) => `${label.replace(/[\r\n]+/g, ' ')}\n`).join(''));
}

/** A row of the table, read. */
interface Example {
  readonly where: string;
  readonly image: string;
  readonly image2: string;
  /** Captions, or a question or sentence. */
  readonly texts: readonly string[];
  /** Answers, or a label. */
  readonly targets: readonly string[];
  readonly split: Split | undefined;
}

/** What a kind of table needs. */
const COLUMNS: {
  readonly [K in Task]: { readonly texts?: readonly string[]; readonly targets?: readonly string[] };
} = {
  imageclassification: { targets: LABEL },
  vqav2: { texts: QUESTION, targets: ANSWER },
  nlvr2: { texts: TEXT, targets: LABEL },
  retrieval: { texts: TEXT },
  captioning: { texts: TEXT },
};

/**
 * The index files of `task` from a table: .csv or .tsv with a header, or .jsonl. Its columns are `image` (relative to
 * `data`), and `text` (captions), `question` and `answer` (vqav2), `image2`, `text` and `label` true or false (nlvr2) or
 * `label` (imagenet); rows of one image go together. A column `split` says train, val or test; without it images are
 * shared out at random. Every image must exist. Throws InputError, with file and line.
 */
export function indexTable(task: IndexTask, table: string, options: OwnIndexOptions): Promise<IndexReport> {
  const kind = TASK_OF[task];
  if (task === 'nocaps')
    throw new InputError('NoCaps is made from its own files only; index a table of captions as coco_captioning.');
  return runIndex(options, '', async (job) => {
    const examples = shareOut(await readExamples(job, table, kind), options, kind);
    const some = examples.get('train')?.length;
    if (!some) throw new InputError(`${table} has no rows to train on.`);
    if (kind === 'retrieval') await writeRetrieval(job, task, examples);
    else if (kind === 'captioning') await writeCaptioning(job, task, examples);
    else if (kind === 'vqav2') await writeVqa(job, examples);
    else if (kind === 'nlvr2') await writeNlvr2(job, examples);
    else await writeClasses(job, examples);
  });
}

async function readExamples(job: IndexJob, table: string, kind: Task): Promise<Example[]> {
  const { access } = await import('node:fs/promises');
  const { resolve } = await import('node:path');
  const { data } = job.options;
  const found = new Set<string>();
  const image = async (row: TableRow, columns: readonly string[]): Promise<string> => {
    const [path] = one(row, columns);
    if (!found.has(path)) {
      const whole = resolve(data, path);
      await access(whole).catch(() => {
        throw new InputError(`${row.where}: there is no image ${whole}; paths are relative to ${data}.`);
      });
      found.add(path);
    }
    return path;
  };
  const { texts, targets } = COLUMNS[kind];
  const examples: Example[] = [];
  for await (const row of readTable(table, (done, total) => job.step(`reading ${table}`, done, total))) {
    const split = row.texts(SPLIT)[0];
    const known = split === undefined ? undefined : SPLIT_NAMES.get(split.toLowerCase());
    if (split !== undefined && known === undefined)
      throw new InputError(`${row.where}: the split is ${JSON.stringify(split)}; expected train, val or test.`);
    const isTest = kind === 'vqav2' && known === 'test';
    examples.push({
      where: row.where,
      image: await image(row, IMAGE),
      image2: kind === 'nlvr2' ? await image(row, IMAGE_2) : '',
      texts: texts ? some(row, texts) : [],
      targets: targets ? (isTest ? row.texts(targets) : some(row, targets)) : [],
      split: known,
    });
  }
  const without = examples.find(({ split }) => split === undefined);
  if (without && examples.some(({ split }) => split !== undefined))
    throw new InputError(`${without.where}: the row has no split, but others have; give one to each row or to none.`);
  return examples;
}

function some(row: TableRow, columns: readonly string[]): readonly string[] {
  const texts = row.texts(columns);
  if (texts.length > 0 && texts.every((text) => text !== '')) return texts;
  throw new InputError(
    `${row.where}: the row has no ${columns[0]}; expected a column of the name ${columns.join(', ')}.`,
  );
}

function one(row: TableRow, columns: readonly string[]): readonly [string] {
  const texts = some(row, columns);
  if (texts.length === 1 && !texts[0].includes('\0')) return [texts[0]];
  throw new InputError(`${row.where}: the row has ${texts.length} times ${columns[0]}; expected one path.`);
}

/** Examples by split. Rows of one image stay together, whichever split they fall into. */
function shareOut(examples: Example[], options: OwnIndexOptions, kind: Task): ReadonlyMap<Split, Example[]> {
  const {
    valShare = DEFAULT_SHARE,
    testShare = kind === 'imageclassification' ? 0 : DEFAULT_SHARE,
    seed = 0,
  } = options;
  if (valShare + testShare >= 1)
    throw new InputError(
      `The shares for validation and test, ${valShare} and ${testShare}, leave nothing to train on.`,
    );
  const bySplit = new Map<Split, Example[]>(SPLITS.map((split) => [split, []]));
  const images = [...new Set(examples.map(({ image }) => image))];
  new PythonRandom(seed).shuffle(images);
  const val = Math.round(images.length * valShare);
  const test = Math.round(images.length * testShare);
  const drawn = new Map(
    images.map((image, i): [string, Split] => [image, i < val ? 'val' : i < val + test ? 'test' : 'train']),
  );
  for (const example of examples) bySplit.get(example.split ?? drawn.get(example.image)!)!.push(example);
  return bySplit;
}

/** Images of examples, each with its number in order. */
function numbered(examples: readonly Example[]): Map<string, number> {
  return new Map([...new Set(examples.map(({ image }) => image))].map((image, i) => [image, i]));
}

async function writeRetrieval(job: IndexJob, task: string, bySplit: ReadonlyMap<Split, Example[]>): Promise<void> {
  for (const [split, examples] of bySplit) {
    const numbers = numbered(examples);
    const rows = examples
      .flatMap(({ image, texts, where }) =>
        texts.map((text) => ({
          image_path: image,
          text_segment: words(job, text, where),
          image_id: numbers.get(image)!,
        })),
      )
      // Rows of one image follow each other, as in the official files.
      .sort((a, b) => a.image_id - b.image_id);
    await job.write(`${task}.${split}.jsonl`, rows);
  }
}

/** Validation and test have a row for each image; its captions go into a file of references in COCO's format. */
async function writeCaptioning(job: IndexJob, task: string, bySplit: ReadonlyMap<Split, Example[]>): Promise<void> {
  const numbers = numbered([...bySplit.values()].flat());
  for (const [split, examples] of bySplit) {
    if (split === 'train') {
      const rows = examples.flatMap(({ image, texts, where }) =>
        texts.map((text) => ({
          image_path: image,
          text_segment: words(job, text, where),
          image_id: numbers.get(image)!,
        })),
      );
      await job.write(`${task}.train.jsonl`, rows);
      continue;
    }
    const images = [...numbered(examples).keys()];
    await job.write(
      `${task}.${split}.jsonl`,
      images.map((image) => ({ image_path: image, text_segment: null, image_id: numbers.get(image)! })),
    );
    const annotations = examples
      .flatMap(({ image, texts }) => texts.map((caption) => ({ image_id: numbers.get(image)!, caption })))
      .map((annotation, id) => ({ ...annotation, id }));
    const references = { annotations, images: images.map((image) => ({ id: numbers.get(image)! })) };
    await (await job.open(`coco_karpathy_${split}_gt.json`)).write(references);
  }
}

async function writeVqa(job: IndexJob, bySplit: ReadonlyMap<Split, Example[]>): Promise<void> {
  const { answers = answersOf([...(bySplit.get('train') ?? []), ...(bySplit.get('val') ?? [])]) } = job.options;
  const numbers = new Map(answers.map((answer, i) => [answer, i]));
  let qid = 0;
  let unanswered = 0;
  const rows = (split: Split): IndexRows['vqav2'][] =>
    (bySplit.get(split) ?? []).flatMap(({ image, texts, targets, where }) => {
      const counts = new Map<number, number>();
      for (const answer of targets) {
        const label = numbers.get(answer) ?? numbers.get(normalizeAnswer(answer));
        if (label !== undefined) counts.set(label, (counts.get(label) ?? 0) + 1);
      }
      if (split !== 'test' && counts.size === 0) {
        unanswered++;
        return [];
      }
      const labels = [...counts.keys()];
      const most = Math.max(...counts.values());
      const scores = [...counts.values()].map((n) => (targets.length >= ANNOTATORS ? vqaLabelScore(n) : n / most));
      return texts.map((text) => ({
        image_path: image,
        text_segment: words(job, text, where),
        labels,
        scores,
        qid: qid++,
      }));
    });
  const [train, val, test] = SPLITS.map(rows);
  await job.write('vqa.train.jsonl', train);
  await job.write('vqa.trainable_val.jsonl', []);
  await job.write('vqa.val.jsonl', val);
  await job.write('vqa.rest_val.jsonl', val);
  await job.write('vqa.test.jsonl', test);
  await job.write('vqa.test-dev.jsonl', test);
  await writeAnswers(job, answers);
  if (unanswered > 0) job.notes.push(`${unanswered} questions were left out: none of their answers is in the list.`);
}

/** Every normalised answer, the most frequent first. */
function answersOf(examples: readonly Example[]): string[] {
  const counts = new Map<string, number>();
  for (const answer of examples.flatMap(({ targets }) => targets.map(normalizeAnswer)))
    if (answer !== '') counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([answer]) => answer);
}

const TRUTHS: ReadonlyMap<string, number> = new Map([
  ['true', 1],
  ['1', 1],
  ['yes', 1],
  ['false', 0],
  ['0', 0],
  ['no', 0],
]);

async function writeNlvr2(job: IndexJob, bySplit: ReadonlyMap<Split, Example[]>): Promise<void> {
  const files: Record<Split, [string, string]> = {
    train: ['nlvr2.train.index.jsonl', 'train'],
    val: ['nlvr2.dev.index.jsonl', 'dev'],
    test: ['nlvr2.test-P.index.jsonl', 'test1'],
  };
  for (const [split, examples] of bySplit) {
    const [file, prefix] = files[split];
    // Identifiers are split-set-pair-sentence: a sentence belongs with all pairs for which it was written.
    const sets = new Map<string, number>();
    const pairs = new Map<string, number>();
    const rows = examples.map(({ image, image2, texts, targets, where }) => {
      const label = TRUTHS.get(targets[0].toLowerCase());
      if (label === undefined)
        throw new InputError(`${where}: the label is ${JSON.stringify(targets[0])}; expected true or false.`);
      const sentence = texts[0];
      if (!sets.has(sentence)) sets.set(sentence, sets.size);
      const set = sets.get(sentence)!;
      const pair = pairs.get(sentence) ?? 0;
      pairs.set(sentence, pair + 1);
      const identifier = `${prefix}-${set}-${pair}-0`;
      const text_segment = words(job, sentence, where);
      return { image_path: image, image2_path: image2, text_segment, label, identifier };
    });
    await job.write(file, rows);
  }
}

async function writeClasses(job: IndexJob, bySplit: ReadonlyMap<Split, Example[]>): Promise<void> {
  if (bySplit.get('test')?.length)
    throw new InputError('Classes are tested on the validation images; name the split of those rows val.');
  const train = bySplit.get('train') ?? [];
  const classes = [...new Set(train.map(({ targets }) => targets[0]))].sort();
  const numbers = new Map(classes.map((name, i) => [name, i]));
  for (const split of ['train', 'val'] as const) {
    const rows = (bySplit.get(split) ?? []).flatMap(({ image, targets }) => {
      const label = numbers.get(targets[0]);
      return label === undefined ? [] : [{ image_path: image, label }];
    });
    const left = (bySplit.get(split)?.length ?? 0) - rows.length;
    if (left > 0) job.notes.push(`${left} rows of ${split} were left out: their class is not in train.`);
    await job.write(`imagenet.${split}.index.jsonl`, rows);
  }
  await writeLabels(job, classes);
}

/** Token ids of a text, which must have some. */
function words(job: IndexJob, text: string, where: string): number[] {
  const ids = job.ids(text);
  if (ids.length === 0) throw new InputError(`${where}: the text ${JSON.stringify(text)} has no words.`);
  return ids;
}

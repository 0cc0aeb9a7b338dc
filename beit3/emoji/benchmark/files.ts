/**
 * The benchmark as a folder: pictures as PNG files, a tokenizer, and the official index files of all five tasks, so that
 * training and evaluation take it like any other data set. Node only.
 */

import { ensureFolder } from '../../../checkpoints/sink.js';
import { InputError, messageOf } from '../../../core/errors.js';
import { Generator } from '../../../core/random.js';
import { type IndexJob, runIndex } from '../../data/index/job.js';
import { writeAnswers } from '../../data/index/vqav2.js';
import type { WrittenFile } from '../../data/jsonl.js';
import type { CaptioningRow, ImageNetRow, Nlvr2Row, RetrievalRow, VqaRow } from '../../data/rows.js';
import { Tokenizer } from '../../tokenizer/index.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import { labelSlug } from '../join.js';
import { cleanText, emojiTexts } from '../text.js';
import { type Chance, chance, type EvaluationSet, evaluationSet } from './evaluation.js';
import { type EmojiNlvr2Example, EmojiSentences } from './nlvr2.js';
import { Dice } from './pool.js';
import { EMOJI_SPLITS, type EmojiBenchmark, type EmojiBenchmarkOptions, emojiBenchmark } from './splits.js';
import { trainBenchmarkTokenizer } from './tokenizer.js';
import { EmojiQuestions, type EmojiVqaExample } from './vqa.js';

export interface EmojiIndexOptions extends EmojiBenchmarkOptions {
  /** The folder to make; it must not exist or be empty. */
  readonly output: string;
  /** The bytes of a .spm file; without it one is trained on the texts of training. */
  readonly tokenizer?: Uint8Array;
  /** Questions, and sentences with their pairs, in the training files; 60,000 and 40,000 without them. */
  readonly trainingQuestions?: number;
  readonly trainingPairs?: number;
  /** How much of `total`, or of an unknown total when null, is done of what `what` names. */
  readonly onProgress?: (what: string, done: number, total: number | null) => void;
}

export interface EmojiIndexReport {
  /** Index files, relative to the folder. */
  readonly files: readonly WrittenFile[];
  /** Pictures of each split, and how many emoji they show. */
  readonly splits: Readonly<Record<string, { readonly pictures: number; readonly emoji: number }>>;
  /** Chance of each measured part. */
  readonly chance: Readonly<Record<string, Chance>>;
}

/** Share of the training pictures that retrieval sees a second time, with a tag after the label. */
const TAGGED = 0.1;

/** Folders with files of their own: official tasks have one test split, of classes none beside validation. */
const FOLDERS = {
  'unseen-style': 'test',
  'zero-shot': 'zeroShot',
  'zero-shot-known-styles': 'zeroShotKnownStyles',
} as const;

/**
 * Makes the folder: images/STYLE/NAME.png, emoji.spm, the index files, labels.txt (classes), answer2label.txt and
 * benchmark.json (what was held out, sizes, chance). Validation is single pictures of known styles; test is the unseen
 * style; that and the zero-shot emoji lie once more in folders of their own, each as a complete data set to evaluate on.
 * The folder appears whole or not at all. Throws InputError where it is there already or cannot be written.
 */
export async function writeEmojiIndex(corpus: EmojiCorpus, options: EmojiIndexOptions): Promise<EmojiIndexReport> {
  const { rename, rm, rmdir, writeFile } = await import('node:fs/promises');
  const { rmSync } = await import('node:fs');
  const { join, resolve } = await import('node:path');
  const output = resolve(options.output);
  await expectFree(output);
  const benchmark = emojiBenchmark(corpus, options);
  const temporary = `${output}.${Math.random().toString(36).slice(2, 10)}.tmp`;
  const remove = (): void => rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
  process.once('exit', remove);
  try {
    await ensureFolder(temporary);
    const paths = await writePictures(corpus, temporary, options);
    options.onProgress?.('training the tokenizer', 0, null);
    const spm = options.tokenizer ?? trainBenchmarkTokenizer(benchmark).bytes;
    await writeFile(join(temporary, 'emoji.spm'), spm);
    const report = await writeIndexes(temporary, benchmark, Tokenizer.fromBytes(spm), paths, options);
    const { heldOutStyle, seed, classes, answers, zeroShot } = benchmark;
    const held = { heldOutStyle, zeroShot: zeroShot.map(({ label }) => label) };
    const summary = { seed, size: corpus.size, ...held, classes: classes.length, answers: answers.length, ...report };
    await writeFile(join(temporary, 'benchmark.json'), `${JSON.stringify(summary, null, 2)}\n`);
    // An empty folder may be in the way, which some systems do not rename onto.
    await rmdir(output).catch(() => {});
    await rename(temporary, output);
    return report;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (error instanceof InputError) throw error;
    throw new InputError(`The folder ${output} cannot be made: ${messageOf(error)}.`);
  } finally {
    process.off('exit', remove);
  }
}

/** Throws InputError where the folder is there and not empty: ask before all the work. */
export async function expectFree(output: string): Promise<void> {
  const { readdir } = await import('node:fs/promises');
  const there = await readdir(output).catch((error: { code?: string }) => {
    if (error.code === 'ENOENT') return [];
    throw new InputError(`${output} is no folder that can be read; choose another.`);
  });
  if (there.length > 0) throw new InputError(`The folder ${output} is not empty; choose another, or remove it.`);
}

/** Writes every picture; gives its path in the folder by its number in the corpus. */
async function writePictures(
  corpus: EmojiCorpus,
  folder: string,
  { onProgress }: EmojiIndexOptions,
): Promise<readonly string[]> {
  const { writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const { availableParallelism } = await import('node:os');
  const paths = picturePaths(corpus.entries);
  for (const style of corpus.styles) await ensureFolder(join(folder, 'images', style));
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (next < paths.length) {
      const image = next++;
      await writeFile(join(folder, paths[image]), await corpus.png(image));
      onProgress?.('writing pictures', ++done, paths.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(16, 2 * availableParallelism()) }, worker));
  return paths;
}

/** images/STYLE/SLUG.png; labels that differ only in signs, as the keycaps do, have the code points added. */
function picturePaths(entries: readonly EmojiEntry[]): string[] {
  const slugs = new Map<string, Set<string>>();
  for (const { label, hexcode } of entries) {
    const slug = labelSlug(label);
    slugs.set(slug, (slugs.get(slug) ?? new Set()).add(hexcode));
  }
  return entries.map(({ style, label, hexcode }) => {
    const slug = labelSlug(label);
    const isOnly = slug !== '' && slugs.get(slug)?.size === 1;
    return `images/${style}/${isOnly ? slug : `${slug}-${hexcode.toLowerCase()}`}.png`;
  });
}

async function writeIndexes(
  folder: string,
  benchmark: EmojiBenchmark,
  tokenizer: Tokenizer,
  paths: readonly string[],
  options: EmojiIndexOptions,
): Promise<EmojiIndexReport> {
  const { mkdir } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const rows = new Rows(benchmark, tokenizer, paths);
  const val = evaluationSet(benchmark, 'val');
  const job = { data: folder, tokenizer, onProgress: options.onProgress };
  const { files } = await runIndex(job, '', async (index) => {
    await writeTraining(index, benchmark, rows, options);
    await writeMeasured(index, val, rows, { val: true });
    await writeMeasured(index, evaluationSet(benchmark, 'test'), rows, { test: true });
    await writeNames(index, benchmark);
  });
  const all = files.map(({ path, rows }) => ({ path: path.slice(folder.length + 1), rows }));
  const chances: Record<string, Chance> = { val: chance(benchmark, val) };
  for (const [name, split] of Object.entries(FOLDERS)) {
    const set = evaluationSet(benchmark, split);
    const data = join(folder, name);
    await mkdir(data);
    // Paths are relative to the folder of the data set.
    const inside = new Rows(
      benchmark,
      tokenizer,
      paths.map((path) => `../${path}`),
    );
    const written = await runIndex({ ...job, data }, '', async (index) => {
      await writeMeasured(index, set, inside, { val: true, test: true });
      await writeNames(index, benchmark);
    });
    all.push(...written.files.map(({ path, rows }) => ({ path: path.slice(folder.length + 1), rows })));
    chances[split] = chance(benchmark, set);
  }
  const splits = EMOJI_SPLITS.map((split) => {
    const entries = benchmark[split];
    return [split, { pictures: entries.length, emoji: new Set(entries.map((e) => e.hexcode)).size }];
  });
  return { files: all, splits: Object.fromEntries(splits) as EmojiIndexReport['splits'], chance: chances };
}

/** Examples as the rows of the official files. */
class Rows {
  private readonly tokens = new Map<string, readonly number[]>();

  constructor(
    readonly benchmark: EmojiBenchmark,
    private readonly tokenizer: Tokenizer,
    private readonly paths: readonly string[],
  ) {}

  private path(entry: EmojiEntry): string {
    return this.paths[entry.image];
  }

  /** Token ids of a text; the same texts come again and again. */
  private ids(text: string): readonly number[] {
    let ids = this.tokens.get(text);
    if (!ids) this.tokens.set(text, (ids = this.tokenizer.encode(text).ids));
    return ids;
  }

  imagenet(entries: readonly EmojiEntry[]): ImageNetRow[] {
    return entries.flatMap((entry) => {
      const label = this.benchmark.classOf(entry);
      return label === undefined ? [] : [{ image_path: this.path(entry), label }];
    });
  }

  /** A row for each text of each picture. */
  retrieval(entries: readonly EmojiEntry[], textsOf: (entry: EmojiEntry) => readonly string[] = label): RetrievalRow[] {
    return entries.flatMap((entry, image_id) =>
      textsOf(entry).map((text) => ({ image_path: this.path(entry), text_segment: this.ids(text), image_id })),
    );
  }

  /** Pictures and their labels in plain words. */
  pairs(entries: readonly EmojiEntry[]): { readonly image: string; readonly caption: string }[] {
    return entries.map((entry) => ({ image: this.path(entry), caption: label(entry)[0] }));
  }

  captioning(entries: readonly EmojiEntry[], isTraining: boolean): CaptioningRow[] {
    return entries.map((entry) => ({
      image_path: this.path(entry),
      text_segment: isTraining ? this.ids(cleanText(entry.label)) : null,
      image_id: entry.image,
    }));
  }

  vqa(examples: readonly EmojiVqaExample[]): VqaRow[] {
    return examples.map(({ entry, question, answer }, qid) => ({
      image_path: this.path(entry),
      text_segment: this.ids(question),
      labels: [this.benchmark.answerOf(answer)],
      scores: [1],
      qid,
    }));
  }

  nlvr2(examples: readonly EmojiNlvr2Example[]): Nlvr2Row[] {
    return examples.map(({ left, right, sentence, label, identifier }) => ({
      image_path: this.path(left),
      image2_path: this.path(right),
      text_segment: this.ids(sentence),
      label: label ? 1 : 0,
      identifier,
    }));
  }
}

const label = (entry: EmojiEntry): string[] => [cleanText(entry.label)];

async function writeTraining(
  index: IndexJob,
  { train, seed }: EmojiBenchmark,
  rows: Rows,
  { trainingQuestions = 60_000, trainingPairs = 40_000 }: EmojiIndexOptions,
): Promise<void> {
  const generator = new Generator(seed);
  const dice = new Dice(generator);
  const texts = (entry: EmojiEntry): string[] => {
    const [name] = label(entry);
    const isTagged = dice.next() < TAGGED && entry.tags.length > 0;
    return isTagged ? [name, `${name} ${cleanText(dice.of(entry.tags))}`] : [name];
  };
  const questions = new EmojiQuestions(train).draw(trainingQuestions, generator);
  const pairs = new EmojiSentences(train).draw(trainingPairs, generator, 'train');
  await index.write('imagenet.train.index.jsonl', rows.imagenet(train));
  await index.write('vqa.train.jsonl', rows.vqa(questions));
  await index.write('vqa.trainable_val.jsonl', []);
  await index.write('nlvr2.train.index.jsonl', rows.nlvr2(pairs));
  await index.write('coco_retrieval.train.jsonl', rows.retrieval(train, texts));
  await index.write('coco_captioning.train.jsonl', rows.captioning(train, true));
  await writePretraining(index, train, rows);
}

/** What `beit3 pretrain` takes: pairs as a table, and what is said of each emoji as a line of text. */
async function writePretraining(index: IndexJob, train: readonly EmojiEntry[], rows: Rows): Promise<void> {
  const pairs = rows.pairs(train).map((pair) => `${JSON.stringify(pair)}\n`);
  await (await index.open('pretrain.pairs.jsonl')).writeText(pairs.join(''));
  const distinct = new Map(train.map((entry) => [entry.hexcode, entry]));
  const lines = Array.from(distinct.values(), (entry) => `${emojiTexts(entry).join(', ')}\n`);
  await (await index.open('pretrain.texts.txt')).writeText(lines.join(''));
}

/** The files of a set under the names of the validation split, the test split, or both. */
async function writeMeasured(
  index: IndexJob,
  { entries, questions, pairs }: EvaluationSet,
  rows: Rows,
  as: { readonly val?: boolean; readonly test?: boolean },
): Promise<void> {
  if (as.val) {
    await index.write('imagenet.val.index.jsonl', rows.imagenet(entries));
    await index.write('vqa.val.jsonl', rows.vqa(questions));
    await index.write('vqa.rest_val.jsonl', rows.vqa(questions));
    await index.write('nlvr2.dev.index.jsonl', rows.nlvr2(pairs));
  }
  if (as.test) {
    await index.write('vqa.test.jsonl', rows.vqa(questions));
    await index.write('nlvr2.test-P.index.jsonl', rows.nlvr2(pairs));
  }
  for (const split of ['val', 'test'] as const) {
    if (!as[split]) continue;
    await index.write(`coco_retrieval.${split}.jsonl`, rows.retrieval(entries));
    await index.write(`coco_captioning.${split}.jsonl`, rows.captioning(entries, false));
    const annotations = entries.map((entry, id) => ({ image_id: entry.image, caption: label(entry)[0], id }));
    const references = { annotations, images: entries.map((entry) => ({ id: entry.image })) };
    await (await index.open(`coco_karpathy_${split}_gt.json`)).write(references);
  }
}

/** Names of the classes and of the answers, by their numbers. */
async function writeNames(index: IndexJob, { classes, answers }: EmojiBenchmark): Promise<void> {
  await (await index.open('labels.txt')).writeText(`${classes.join('\n')}\n`);
  await writeAnswers(index, answers);
}

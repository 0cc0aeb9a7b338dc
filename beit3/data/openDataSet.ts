/** Data sets from the official index files; all but the pictures is held in memory. Node only. */

import { InputError } from '../../core/errors.js';
import { parseLabels } from '../pipeline/labels.js';
import { readBytes } from '../readBytes.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { readAnswers } from './answers.js';
import type { DataSet, TaskSamples } from './dataSet.js';
import {
  type IndexSplit,
  type IndexTask,
  indexFiles,
  readIndex,
  TASK_OF,
  type TaskOf,
  type TextSegment,
} from './rows.js';
import { TABLES } from './tables.js';

export interface DataSetOptions {
  /** The folder to which the paths of pictures are relative, and in which the index files lie. */
  readonly data: string;
  /** The folder of the index files, where it is another. */
  readonly index?: string;
  /** Needed to mask captions, and where an index holds texts instead of token ids. */
  readonly tokenizer?: Tokenizer;
  /** Rows of the model's word table: token ids must be below. The tokenizer's own number counts too. */
  readonly vocabularySize?: number;
  /** A text is cut to so many tokens, `<s>` and `</s>` included; 64 without it. */
  readonly maxTokens?: number;
  /** The classes of imagenet; without it as many as labels.txt names, or else as the rows have. */
  readonly classes?: number;
  /** How many bytes of an index file have been read. */
  readonly onProgress?: (file: string, done: number, total: number) => void;
}

export interface IndexedDataSet<N extends IndexTask = IndexTask> extends DataSet<TaskOf<N>> {
  readonly name: N;
  readonly split: IndexSplit;
  /** By number: the answers of vqav2; the classes of imagenet where there is a labels.txt; else empty. */
  readonly labels: readonly string[];
  /** Texts that had too many tokens and were cut. */
  readonly cutTexts: number;
}

const DEFAULT_TOKENS = 64;
const MAX_LABEL_BYTES = 64 << 20;
const ANSWERS_FILE = 'answer2label.txt';
const LABELS_FILE = 'labels.txt';

/**
 * Reads the index files of a split; NoCaps trains on the captions of COCO. Throws InputError, one sentence, for a file
 * that is missing (it names the command that makes it) or has no rows, and for a row that is broken.
 */
export async function openDataSet<N extends IndexTask>(
  name: N,
  split: IndexSplit,
  options: DataSetOptions,
): Promise<IndexedDataSet<N>> {
  const { isAbsolute, join } = await import('node:path');
  const { data, index = data, tokenizer, maxTokens = DEFAULT_TOKENS } = options;
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 3)
    throw new InputError(`A text needs room for 3 tokens or more, got ${maxTokens}.`);
  const sizes = [options.vocabularySize, tokenizer?.vocabularySize].filter((size) => size !== undefined);
  const vocabularySize = sizes.length > 0 ? Math.min(...sizes) : undefined;
  const files = indexFiles(name, split).map((file) => join(index, file));
  for (const file of files) await requireFile(file, name, split, options);
  const labels = await labelsOf(name, index);
  const known = name === 'imagenet' ? (options.classes ?? labels.length) : labels.length;

  let cutTexts = 0;
  let where = '';
  const tokens = (segment: TextSegment): ArrayLike<number> => {
    const ids = typeof segment === 'string' ? encode(segment, tokenizer, where) : segment;
    if (ids.length <= maxTokens - 2) return ids;
    cutTexts++;
    return ids.slice(0, maxTokens - 2);
  };
  const file = (path: string): string => (isAbsolute(path) ? path : join(data, path));
  const kind = TASK_OF[name];
  const table = TABLES[kind]({ tokens, file });
  const ends: number[] = [];
  let size = 0;
  let mostLabel = -1;
  for (const path of files) {
    const first = size;
    const onProgress = (done: number, total: number): void => options.onProgress?.(path, done, total);
    const limits = { vocabularySize, labelCount: known || undefined };
    where = `row 1 of ${path}`;
    for await (const row of readIndex(path, kind, { ...limits, onProgress })) {
      if (split === 'train' && 'text_segment' in row && row.text_segment === null)
        throw new InputError(`${where} has no text; rows to train on need one.`);
      table.add(row);
      if ('label' in row) mostLabel = Math.max(mostLabel, row.label);
      size++;
      where = `row ${size - first + 1} of ${path}`;
    }
    ends.push(size);
  }
  if (size === 0) throw new InputError(`${files.join(' and ')} has no rows; make the index again with beit3 index.`);
  const classes = kind === 'nlvr2' ? 2 : known || mostLabel + 1;
  const sample = (row: number): TaskSamples[TaskOf<N>] => table.sample(row) as TaskSamples[TaskOf<N>];
  return {
    name,
    split,
    task: TASK_OF[name],
    size,
    classes,
    labels,
    cutTexts,
    vocabulary: tokenizer ? { size: tokenizer.vocabularySize, maskId: tokenizer.maskId } : null,
    sample,
    where: (row) => {
      const part = ends.findIndex((end) => row < end);
      return `row ${row - (part > 0 ? ends[part - 1] : 0) + 1} of ${files[part]}`;
    },
  };
}

async function requireFile(path: string, name: IndexTask, split: IndexSplit, options: DataSetOptions): Promise<void> {
  const { access } = await import('node:fs/promises');
  await access(path).catch(() => {
    const maker = name === 'nocaps' && split === 'train' ? 'coco_captioning' : name;
    const output = options.index === undefined ? '' : ` --output ${options.index}`;
    throw new InputError(
      `There is no index file ${path}; the command beit3 index ${maker} --data ${options.data}${output} makes it.`,
    );
  });
}

/** Answers, which vqav2 needs; names of classes, where there are some. */
async function labelsOf(name: IndexTask, folder: string): Promise<readonly string[]> {
  const { access } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const path = join(folder, name === 'vqav2' ? ANSWERS_FILE : LABELS_FILE);
  const exists = await access(path).then(
    () => true,
    () => false,
  );
  if (name === 'vqav2') {
    if (exists) return readAnswers(path);
    throw new InputError(`There is no list of answers ${path}; beit3 index vqav2 makes it beside the index files.`);
  }
  if (name !== 'imagenet' || !exists) return [];
  const bytes = await readBytes(path, { what: 'the names of the classes', maxBytes: MAX_LABEL_BYTES });
  return parseLabels(new TextDecoder().decode(bytes), path);
}

function encode(text: string, tokenizer: Tokenizer | undefined, where: string): readonly number[] {
  if (!tokenizer) throw new InputError(`${where} has a text instead of token ids; give the tokenizer, a .spm file.`);
  const { ids } = tokenizer.encode(text);
  if (ids.length === 0) throw new InputError(`${where}: the text ${JSON.stringify(text.slice(0, 40))} has no words.`);
  return ids;
}

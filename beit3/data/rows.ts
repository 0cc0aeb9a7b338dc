/** The official index files: a row of each kind, which file holds what, and a reader that checks every row. */

import { InputError } from '../../core/errors.js';
import type { Task } from '../config.js';
import { parseLine, type ReadProgress, readLines } from './jsonl.js';

/** Token ids without <s> and </s>; a plain text is allowed too, as the reference allows it. */
export type TextSegment = readonly number[] | string;

export interface ImageNetRow {
  readonly image_path: string;
  readonly label: number;
}

export interface VqaRow {
  readonly image_path: string;
  readonly text_segment: TextSegment;
  /** Numbers of the answers, and the score of each from 0 to 1; none in a test split. */
  readonly labels: readonly number[];
  readonly scores: readonly number[];
  readonly qid: number;
}

export interface Nlvr2Row {
  readonly image_path: string;
  readonly image2_path: string;
  readonly text_segment: TextSegment;
  /** 1 = the sentence is true. */
  readonly label: number;
  readonly identifier: string;
}

export interface RetrievalRow {
  readonly image_path: string;
  readonly text_segment: TextSegment;
  readonly image_id: number;
}

export interface CaptioningRow {
  readonly image_path: string;
  /** Null where captions are to be written. */
  readonly text_segment: TextSegment | null;
  readonly image_id: number;
}

/** Task -> the row of its index files. */
export interface IndexRows {
  readonly imageclassification: ImageNetRow;
  readonly vqav2: VqaRow;
  readonly nlvr2: Nlvr2Row;
  readonly retrieval: RetrievalRow;
  readonly captioning: CaptioningRow;
}

/** Official name of a task with its data -> the task. */
export const TASK_OF = {
  imagenet: 'imageclassification',
  vqav2: 'vqav2',
  nlvr2: 'nlvr2',
  coco_captioning: 'captioning',
  coco_retrieval: 'retrieval',
  flickr30k: 'retrieval',
  nocaps: 'captioning',
} as const satisfies Record<string, Task>;

export type IndexTask = keyof typeof TASK_OF;
export type TaskOf<N extends IndexTask> = (typeof TASK_OF)[N];
export type IndexSplit = 'train' | 'val' | 'test' | 'test-dev';

/**
 * The files that hold a split, as the reference chooses them: NoCaps trains on COCO captions, ImageNet is tested on its
 * validation images, VQAv2 trains on all validation images but those of rest_val. Throws InputError for a split that
 * the task does not have.
 */
export function indexFiles(task: IndexTask, split: IndexSplit): readonly string[] {
  const files: Partial<Record<IndexSplit, readonly string[]>> = FILES[task] ?? {
    train: [`${task === 'nocaps' ? 'coco_captioning' : task}.train.jsonl`],
    val: [`${task}.val.jsonl`],
    test: [`${task}.test.jsonl`],
  };
  const found = files[split];
  if (found) return found;
  throw new InputError(`${task} has no split ${JSON.stringify(split)}; it has ${Object.keys(files).join(', ')}.`);
}

const FILES: { readonly [task in IndexTask]?: Partial<Record<IndexSplit, readonly string[]>> } = {
  imagenet: {
    train: ['imagenet.train.index.jsonl'],
    val: ['imagenet.val.index.jsonl'],
    test: ['imagenet.val.index.jsonl'],
  },
  nlvr2: {
    train: ['nlvr2.train.index.jsonl'],
    val: ['nlvr2.dev.index.jsonl'],
    test: ['nlvr2.test-P.index.jsonl'],
  },
  vqav2: {
    train: ['vqa.train.jsonl', 'vqa.trainable_val.jsonl'],
    val: ['vqa.rest_val.jsonl'],
    test: ['vqa.test.jsonl'],
    'test-dev': ['vqa.test-dev.jsonl'],
  },
};

export interface ReadIndexOptions {
  /** Token ids must be below this. */
  readonly vocabularySize?: number;
  /** Labels must be below this: classes, or answers. */
  readonly labelCount?: number;
  readonly onProgress?: ReadProgress;
}

/**
 * The rows of an index file, ours or one that the reference's Python made, one at a time. Fields that the kind does not
 * have are left out. Throws InputError for a missing file and, with its line, for a row that is broken.
 */
export async function* readIndex<K extends Task>(
  path: string,
  kind: K,
  options: ReadIndexOptions = {},
): AsyncGenerator<IndexRows[K]> {
  const what = `an index file of ${kind} rows, which beit3 index makes`;
  const read = READERS[kind];
  for await (const line of readLines(path, what, options.onProgress)) {
    const value = parseLine(path, line);
    yield read(new Fields(value, `${path}:${line.number}`, 'the row'), options);
  }
}

const READERS: { readonly [K in Task]: (row: Fields, options: ReadIndexOptions) => IndexRows[K] } = {
  imageclassification: (row, options) => ({
    image_path: row.path('image_path'),
    label: row.label('label', options.labelCount),
  }),
  vqav2: (row, options) => {
    const labels = row.numbers('labels', (n) => isIndex(n, options.labelCount), 'numbers of answers');
    const scores = row.numbers('scores', (n) => n >= 0 && n <= 1, 'numbers from 0 to 1');
    if (labels.length !== scores.length)
      throw row.refusal(`has ${labels.length} labels but ${scores.length} scores; expected as many of both`);
    return {
      image_path: row.path('image_path'),
      text_segment: row.segment('text_segment', options.vocabularySize),
      labels,
      scores,
      qid: row.whole('qid'),
    };
  },
  nlvr2: (row, options) => ({
    image_path: row.path('image_path'),
    image2_path: row.path('image2_path'),
    text_segment: row.segment('text_segment', options.vocabularySize),
    label: row.label('label', 2),
    identifier: row.text('identifier'),
  }),
  retrieval: (row, options) => ({
    image_path: row.path('image_path'),
    text_segment: row.segment('text_segment', options.vocabularySize),
    image_id: row.whole('image_id'),
  }),
  captioning: (row, options) => ({
    image_path: row.path('image_path'),
    text_segment: row.isNull('text_segment') ? null : row.segment('text_segment', options.vocabularySize),
    image_id: row.whole('image_id'),
  }),
};

function isIndex(value: number, count = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value < count;
}

/** The fields of an object from a file. Every method throws InputError, naming place and field, for another value. */
export class Fields {
  private readonly object: Readonly<Record<string, unknown>>;

  /** `where` is file and line, or file and element; `what` names the object in messages. */
  constructor(
    value: unknown,
    private readonly where: string,
    private readonly what: string,
  ) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new InputError(`${where}: ${what} is ${shown(value)}; expected a JSON object.`);
    this.object = value as Readonly<Record<string, unknown>>;
  }

  refusal(why: string): InputError {
    return new InputError(`${this.where}: ${this.what} ${why}.`);
  }

  has(key: string): boolean {
    return Object.hasOwn(this.object, key);
  }

  isNull(key: string): boolean {
    return this.has(key) && this.object[key] === null;
  }

  value(key: string): unknown {
    return this.has(key) ? this.object[key] : undefined;
  }

  text(key: string): string {
    const value = this.value(key);
    return typeof value === 'string' ? value : this.expected(key, 'a text');
  }

  /** A text that can be a path. */
  path(key: string): string {
    const value = this.value(key);
    if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
    return this.expected(key, 'the path of a file');
  }

  /** A whole number that is not negative. */
  whole(key: string): number {
    const value = this.value(key);
    return typeof value === 'number' && isIndex(value) ? value : this.expected(key, 'a whole number from 0');
  }

  /** A whole number below `count`. */
  label(key: string, count?: number): number {
    const value = this.value(key);
    if (typeof value === 'number' && isIndex(value, count)) return value;
    return this.expected(key, count === undefined ? 'a whole number from 0' : `a whole number from 0 to ${count - 1}`);
  }

  list(key: string): readonly unknown[] {
    const value = this.value(key);
    return Array.isArray(value) ? (value as readonly unknown[]) : this.expected(key, 'a list');
  }

  /** The objects of a list. */
  *objects(key: string): Generator<Fields> {
    const list = this.list(key);
    for (let i = 0; i < list.length; i++) yield new Fields(list[i], this.where, `${key}[${i}]`);
  }

  numbers(key: string, holds: (value: number) => boolean, what: string): readonly number[] {
    const list = this.list(key);
    if (list.every((n): n is number => typeof n === 'number' && holds(n))) return list;
    return this.expected(key, `a list of ${what}`);
  }

  /** Token ids or a text; neither may be empty. */
  segment(key: string, vocabularySize?: number): TextSegment {
    const value = this.value(key);
    if (typeof value === 'string' && value.trim() !== '') return value;
    if (!Array.isArray(value)) return this.expected(key, 'a list of token ids');
    if (value.length === 0) throw this.refusal(`has no words: ${JSON.stringify(key)} is empty`);
    const below = vocabularySize === undefined ? '' : ` below ${vocabularySize}, the size of the vocabulary`;
    return this.numbers(key, (n) => isIndex(n, vocabularySize), `token ids${below}`);
  }

  expected(key: string, what: string): never {
    if (!this.has(key)) throw this.refusal(`has no ${JSON.stringify(key)}; expected ${what}`);
    throw this.refusal(`has ${shown(this.value(key))} as ${JSON.stringify(key)}; expected ${what}`);
  }
}

/** A value in a message, short. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

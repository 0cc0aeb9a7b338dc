/** What a loader makes batches of: samples of a task, by number. */

import type { Task } from '../config.js';
import type { RgbImage } from '../images/index.js';
import type { ByteSource } from '../readBytes.js';

/** A picture: a file, or one that is decoded already. */
export type PictureSource = ByteSource | RgbImage;

/** What every sample has. */
export interface PictureSample {
  /** The picture, or both of a pair. */
  readonly pictures: readonly PictureSource[];
}

/** Token ids without `<s>` and `</s>`, cut to what the model takes. */
export type Tokens = ArrayLike<number>;

/** Task -> its samples. */
export interface TaskSamples {
  readonly imageclassification: PictureSample & { readonly label: number };
  readonly vqav2: PictureSample & {
    readonly tokens: Tokens;
    /** Numbers of the answers, and the score of each; null in a test split without answers. */
    readonly answers: { readonly labels: ArrayLike<number>; readonly scores: ArrayLike<number> } | null;
    readonly questionId: number;
  };
  readonly nlvr2: PictureSample & {
    readonly tokens: Tokens;
    /** 1 = the sentence is true. */
    readonly label: number;
    readonly identifier: string;
  };
  readonly captioning: PictureSample & {
    /** Null where captions are to be written. */
    readonly tokens: Tokens | null;
    readonly imageId: number;
  };
  readonly retrieval: PictureSample & { readonly tokens: Tokens; readonly imageId: number };
}

export interface DataSet<T extends Task = Task> {
  readonly task: T;
  /** Samples. */
  readonly size: number;
  /** Outputs of the head: classes, answers, 2 for nlvr2, 0 for the tasks without classes. */
  readonly classes: number;
  /** The sample of a number from 0 to size - 1. */
  sample(row: number): TaskSamples[T];
  /** Where a sample comes from, for messages: `row 3 of data/vqa.train.jsonl`. */
  where(row: number): string;
  /** What masking needs to know of the tokenizer; null where there is none. */
  readonly vocabulary: Vocabulary | null;
}

export interface Vocabulary {
  /** Token ids are below this. */
  readonly size: number;
  readonly maskId: number;
}

/** The samples of `rows` of a data set, in that order. */
export function subset<T extends Task>(data: DataSet<T>, rows: ArrayLike<number>): DataSet<T> {
  return {
    task: data.task,
    size: rows.length,
    classes: data.classes,
    vocabulary: data.vocabulary,
    sample: (row) => data.sample(rows[row]),
    where: (row) => data.where(rows[row]),
  };
}

/** The rows of index files in columns, one table for each task, and the samples that they stand for. */

import type { Task } from '../config.js';
import { ListColumn, NumberColumn, TextColumn } from './columns.js';
import type { TaskSamples } from './dataSet.js';
import type { IndexRows, TextSegment } from './rows.js';

export interface Table<K extends Task> {
  add(row: IndexRows[K]): void;
  sample(row: number): TaskSamples[K];
}

export interface TableOptions {
  /** Token ids of a segment, without special ones, cut to length. */
  readonly tokens: (segment: TextSegment) => ArrayLike<number>;
  /** The file of a path in the index. */
  readonly file: (path: string) => string;
}

export const TABLES: { readonly [K in Task]: (options: TableOptions) => Table<K> } = {
  imageclassification: ({ file }) => {
    const paths = new TextColumn();
    const labels = new NumberColumn(Int32Array);
    return {
      add: (row) => {
        paths.add(row.image_path);
        labels.add(row.label);
      },
      sample: (i) => ({ pictures: [file(paths.at(i))], label: labels.at(i) }),
    };
  },
  vqav2: ({ file, tokens }) => {
    const paths = new TextColumn();
    const texts = new ListColumn(Int32Array);
    const labels = new ListColumn(Int32Array);
    const scores = new ListColumn(Float32Array);
    const ids = new NumberColumn(Float64Array);
    let isAnswered = false;
    return {
      add: (row) => {
        paths.add(row.image_path);
        texts.add(tokens(row.text_segment));
        labels.add(row.labels);
        scores.add(row.scores);
        ids.add(row.qid);
        isAnswered ||= row.labels.length > 0;
      },
      sample: (i) => ({
        pictures: [file(paths.at(i))],
        tokens: texts.at(i),
        answers: isAnswered ? { labels: labels.at(i), scores: scores.at(i) } : null,
        questionId: ids.at(i),
      }),
    };
  },
  nlvr2: ({ file, tokens }) => {
    const [left, right, identifiers] = [new TextColumn(), new TextColumn(), new TextColumn()];
    const texts = new ListColumn(Int32Array);
    const labels = new NumberColumn(Int32Array);
    return {
      add: (row) => {
        left.add(row.image_path);
        right.add(row.image2_path);
        identifiers.add(row.identifier);
        texts.add(tokens(row.text_segment));
        labels.add(row.label);
      },
      sample: (i) => ({
        pictures: [file(left.at(i)), file(right.at(i))],
        tokens: texts.at(i),
        label: labels.at(i),
        identifier: identifiers.at(i),
      }),
    };
  },
  retrieval: ({ file, tokens }) => {
    const paths = new TextColumn();
    const texts = new ListColumn(Int32Array);
    const ids = new NumberColumn(Float64Array);
    return {
      add: (row) => {
        paths.add(row.image_path);
        texts.add(tokens(row.text_segment));
        ids.add(row.image_id);
      },
      sample: (i) => ({ pictures: [file(paths.at(i))], tokens: texts.at(i), imageId: ids.at(i) }),
    };
  },
  captioning: ({ file, tokens }) => {
    const paths = new TextColumn();
    const texts = new ListColumn(Int32Array);
    const ids = new NumberColumn(Float64Array);
    return {
      add: (row) => {
        paths.add(row.image_path);
        // A text has at least one token: an empty list stands for none.
        texts.add(row.text_segment === null ? [] : tokens(row.text_segment));
        ids.add(row.image_id);
      },
      sample: (i) => {
        const text = texts.at(i);
        return { pictures: [file(paths.at(i))], tokens: text.length > 0 ? text : null, imageId: ids.at(i) };
      },
    };
  },
};

/** What the makers of index files have in common. Node only. */

import { InputError } from '../../../core/errors.js';
import type { Task } from '../../config.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { readJsonArray } from '../jsonArray.js';
import { parseLine, type RowWriter, readLines, type WrittenFile, writeTogether } from '../jsonl.js';
import { Fields, type IndexRows } from '../rows.js';

export interface IndexOptions {
  /** The folder with the images; paths in the index are relative to it. */
  readonly data: string;
  /** Where the index goes; `data` without it, which is where the reference looks for it. */
  readonly output?: string;
  /** The folder of the annotation files, where they do not lie in their usual place in `data`. */
  readonly annotations?: string;
  /** Turns texts into token ids; needed by all but ImageNet and NoCaps. */
  readonly tokenizer?: Tokenizer;
  /** Only these splits, by the name that is in the file's name; all without it. */
  readonly splits?: readonly string[];
  /** VQAv2's own order of images, and shares of validation and test images: random by this number, 0 without it. */
  readonly seed?: number;
  /** The list of answers of VQAv2, instead of those that occur nine times. */
  readonly answers?: readonly string[];
  /** How much of `total` bytes, or of rows when null, has been read of what `what` names. */
  readonly onProgress?: (what: string, done: number, total: number | null) => void;
  /** Stops the work; nothing is written then. */
  readonly signal?: AbortSignal;
}

export interface IndexReport {
  readonly files: readonly WrittenFile[];
  /** What a person should know: images that are not there, classes left out. */
  readonly notes: readonly string[];
}

export class IndexJob {
  readonly notes: string[] = [];
  private readonly names: string[] = [];
  private withoutWords = 0;

  constructor(
    readonly options: IndexOptions,
    readonly annotations: string,
    private readonly openFile: (name: string) => Promise<RowWriter>,
  ) {}

  /** Token ids of a text as the reference's makers write them, without <s> and </s>. */
  ids(text: string): number[] {
    const { tokenizer } = this.options;
    if (!tokenizer) throw new InputError('This index holds token ids and needs a tokenizer; give a .spm file.');
    const { ids } = tokenizer.encode(text);
    if (ids.length === 0) this.withoutWords++;
    return ids;
  }

  /** Whether a split is wanted. */
  wants(split: string): boolean {
    this.names.push(split);
    return this.options.splits?.includes(split) ?? true;
  }

  open(name: string): Promise<RowWriter> {
    return this.openFile(name);
  }

  /** Writes a file of rows. The first image of it is looked for, and noted where it is missing. */
  async write(name: string, rows: Iterable<IndexRows[Task]>): Promise<void> {
    const writer = await this.open(name);
    for (const row of rows) {
      if (writer.rows === 0) await this.lookFor(row.image_path);
      if (writer.rows % 4096 === 0) this.step(`writing ${name}`, writer.rows, null);
      await writer.write(row);
    }
  }

  /** Tells how far the work is, and stops it when that is wanted. */
  step(what: string, done: number, total: number | null): void {
    if (this.options.signal?.aborted) throw new InputError('Stopped; no index was written.');
    this.options.onProgress?.(what, done, total);
  }

  /** The objects in the list `key` of a JSON file among the annotations; `what` tells what that file is. */
  async *elements(file: string, key: string, what: string): AsyncGenerator<Fields> {
    const path = await this.annotationPath(file);
    const report = (done: number, total: number): void => this.step(`reading ${file}`, done, total);
    for await (const { value, index } of readJsonArray(path, key, what, report))
      yield new Fields(value, path, `${key}[${index}]`);
  }

  /** The objects in a file of one JSON object a line among the annotations. */
  async *lines(file: string, what: string): AsyncGenerator<Fields> {
    const path = await this.annotationPath(file);
    const report = (done: number, total: number): void => this.step(`reading ${file}`, done, total);
    for await (const line of readLines(path, what, report))
      yield new Fields(parseLine(path, line), `${path}:${line.number}`, 'the line');
  }

  async annotationPath(file: string): Promise<string> {
    const { join } = await import('node:path');
    return join(this.annotations, file);
  }

  async lookFor(image: string): Promise<void> {
    const { access } = await import('node:fs/promises');
    const { resolve } = await import('node:path');
    const path = resolve(this.options.data, image);
    await access(path).catch(() => this.notes.push(`There is no image ${path} yet; the index names it.`));
  }

  /** Call at the end: refuses wishes that named no split, and completes the notes. */
  finish(): void {
    const unknown = this.options.splits?.find((split) => !this.names.includes(split));
    if (unknown !== undefined)
      throw new InputError(`There is no split ${JSON.stringify(unknown)}; there are ${this.names.join(', ')}.`);
    if (this.withoutWords > 0)
      this.notes.push(`${this.withoutWords} texts have no words; training refuses such rows, as the reference does.`);
  }
}

/** Makes an index: `fill` reads and writes, and what it wrote appears together when it has succeeded. */
export async function runIndex(
  options: IndexOptions,
  usualAnnotations: string,
  fill: (job: IndexJob) => Promise<void>,
): Promise<IndexReport> {
  const { stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const info = await stat(options.data).catch(() => undefined);
  if (!info?.isDirectory())
    throw new InputError(`There is no folder ${options.data}; give the one that holds the images.`);
  let notes: readonly string[] = [];
  const files = await writeTogether(options.output ?? options.data, async (open) => {
    const job = new IndexJob(options, options.annotations ?? join(options.data, usualAnnotations), open);
    await fill(job);
    job.finish();
    notes = job.notes;
  });
  return { files, notes };
}

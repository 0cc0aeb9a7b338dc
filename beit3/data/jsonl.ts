/** Files of one JSON value a line: read line by line, and written so that all appear or none. Node only. */

import { diskError, ensureFolder, removeAtExit } from '../../checkpoints/sink.js';
import { InputError, messageOf } from '../../core/errors.js';
import { pythonJson } from './pythonJson.js';

/** No row of any data set comes near; of a file without line ends no more than this is held. */
const MAX_LINE_BYTES = 16 << 20;
const MAX_FILES = 64;
const FLUSH_CHARACTERS = 1 << 20;
const NEWLINE = 10;

export interface Line {
  /** Throws InputError for a line that cannot be read. */
  readonly text: string;
  /** From 1. */
  readonly number: number;
  /** Bytes of the file before it, and before the next line. */
  readonly start: number;
  readonly end: number;
}

/** A line that cannot be read; those behind it can. */
class BrokenLine implements Line {
  constructor(
    readonly number: number,
    readonly start: number,
    readonly end: number,
    private readonly why: string,
  ) {}

  get text(): string {
    throw new InputError(this.why);
  }
}

/** Whether a line cannot be read. */
export function isBroken(line: Line): boolean {
  return line instanceof BrokenLine;
}

/** Called with the bytes read so far and the size of the file. */
export type ReadProgress = (done: number, total: number) => void;

/** The size of a file. Throws InputError, which says what `what` is, where there is none. */
export async function fileSize(path: string, what: string): Promise<number> {
  const { stat } = await import('node:fs/promises');
  const info = await stat(path).catch((error: unknown) => unreadable(path, what, error));
  if (info.isDirectory()) throw new InputError(`${path} is a folder; expected ${what}.`);
  return info.size;
}

/** Says why `path`, which should be `what`, cannot be read. */
export function unreadable(path: string, what: string, error: unknown): never {
  if (error instanceof InputError) throw error;
  const { code } = error as { code?: string };
  if (code === 'ENOENT' || code === 'ENOTDIR')
    throw new InputError(`There is no file ${path}; expected ${what} there.`);
  throw new InputError(`Cannot read ${path}, ${what}: ${messageOf(error)}.`);
}

/** The chunks of a file from a byte on, one after the other. */
export async function* readChunks(
  path: string,
  what: string,
  onProgress?: ReadProgress,
  from = 0,
): AsyncGenerator<Uint8Array> {
  const total = await fileSize(path, what);
  const { createReadStream } = await import('node:fs');
  let done = from;
  const stream = createReadStream(path, { start: from, highWaterMark: 1 << 18 });
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      yield chunk;
      onProgress?.((done += chunk.length), total);
    }
  } catch (error) {
    unreadable(path, what, error);
  } finally {
    stream.destroy();
  }
}

/** A line of a file: how many are before it, and how many bytes. */
export interface LinePlace {
  readonly line: number;
  readonly byte: number;
}

/**
 * The lines of a UTF-8 file from a place on, without their ends, blank ones left out. `what` says what the file is, for
 * messages. Throws InputError for a missing file; a line that is no text or has more than 16 MiB throws where its text is
 * asked for.
 */
export async function* readLines(
  path: string,
  what: string,
  onProgress?: ReadProgress,
  from: LinePlace = { line: 0, byte: 0 },
): AsyncGenerator<Line> {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  let number = from.line;
  let start = from.byte;
  let parts: Uint8Array[] = [];
  let length = 0;
  const add = (part: Uint8Array): void => {
    length += part.length;
    if (length > MAX_LINE_BYTES) parts = [];
    else if (part.length > 0) parts.push(part);
  };
  /** The line that ends here; undefined for a blank one. */
  const end = (): Line | undefined => {
    number++;
    const at = start;
    start += length + 1;
    const broken = (why: string): Line =>
      new BrokenLine(number, at, start, `${path}:${number}: ${why}; expected ${what}.`);
    try {
      if (length > MAX_LINE_BYTES) return broken('the line is longer than 16 MiB');
      const text = utf8.decode(parts.length === 1 ? parts[0] : Buffer.concat(parts));
      if (text.trim() === '') return undefined;
      return { text: text.endsWith('\r') ? text.slice(0, -1) : text, number, start: at, end: start };
    } catch {
      return broken('the line is not UTF-8 text');
    } finally {
      [parts, length] = [[], 0];
    }
  };
  for await (const chunk of readChunks(path, what, onProgress, from.byte)) {
    let at = 0;
    for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, at)) {
      add(chunk.subarray(at, to));
      at = to + 1;
      const line = end();
      if (line !== undefined) yield line;
    }
    add(chunk.subarray(at));
  }
  const last = length > 0 ? end() : undefined;
  if (last !== undefined) yield last;
}

/** The JSON value of a line. Throws InputError that names file and line. */
export function parseLine(path: string, { text, number }: Pick<Line, 'text' | 'number'>): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    const start = text.length > 40 ? `${text.slice(0, 40)}...` : text;
    throw new InputError(`${path}:${number}: the line is not JSON: ${JSON.stringify(start)}.`);
  }
}

export interface WrittenFile {
  readonly path: string;
  readonly rows: number;
}

/** Keys whose numbers are floats in Python. */
const FLOATS: ReadonlySet<string> = new Set(['scores']);

/** What writing needs of an open file; the file handles of Node have it. */
export interface OpenFile {
  appendFile(text: string): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** One file that is being written. */
export class RowWriter {
  rows = 0;
  private pending = '';

  constructor(
    readonly path: string,
    readonly temporary: string,
    readonly handle: OpenFile,
  ) {}

  /** Writes a row as json.dumps would, and a line end. */
  async write(row: object): Promise<void> {
    await this.writeText(`${pythonJson(row, FLOATS)}\n`);
    this.rows++;
  }

  /** Writes text as it is. */
  async writeText(text: string): Promise<void> {
    this.pending += text;
    if (this.pending.length > FLUSH_CHARACTERS) await this.flush();
  }

  async flush(): Promise<void> {
    const text = this.pending;
    this.pending = '';
    if (text !== '') await this.handle.appendFile(text).catch((error: unknown) => diskError(this.path, error));
  }
}

/**
 * Writes files into `folder`, which is made where it is missing. What `fill` opens appears when it has returned, each
 * file whole, flushed and renamed into place; nothing remains when it throws or the process exits. Gives the files in the order of opening.
 * Throws InputError where the disk refuses.
 */
export async function writeTogether(
  folder: string,
  fill: (open: (name: string) => Promise<RowWriter>) => Promise<void>,
): Promise<WrittenFile[]> {
  const { open, rename, unlink } = await import('node:fs/promises');
  const { join } = await import('node:path');
  await ensureFolder(folder).catch((error: unknown) => {
    throw new InputError(`The folder ${folder} cannot be made: ${messageOf(error)}.`);
  });
  const writers: RowWriter[] = [];
  try {
    await fill(async (name) => {
      if (!/^[\w-][\w. -]{0,200}$/.test(name))
        throw new InputError(`${JSON.stringify(name.slice(0, 60))} cannot be the name of a file to write.`);
      if (writers.length >= MAX_FILES) throw new InputError(`More than ${MAX_FILES} files would be written.`);
      const path = join(folder, name);
      const temporary = `${path}.${Math.random().toString(36).slice(2, 10)}.tmp`;
      await removeAtExit(temporary);
      const handle = await open(temporary, 'wx').catch((error: unknown) => diskError(path, error));
      const writer = new RowWriter(path, temporary, handle);
      writers.push(writer);
      return writer;
    });
    for (const writer of writers) {
      await writer.flush();
      await writer.handle.sync().catch((error: unknown) => diskError(writer.path, error));
      await writer.handle.close();
    }
    for (const { temporary, path } of writers) {
      await rename(temporary, path).catch((error: unknown) => diskError(path, error));
      (await removeAtExit(temporary)).delete(temporary);
    }
  } catch (error) {
    for (const { handle, temporary } of writers) {
      await handle.close().catch(() => {});
      await unlink(temporary).catch(() => {});
    }
    throw error;
  }
  return writers.map(({ path, rows }) => ({ path, rows }));
}

import { InputError, messageOf } from '../core/errors.js';

/** Random access to the bytes of a checkpoint, wherever they lie. */
export interface ByteSource {
  /** What messages call it: a path or a file name. */
  readonly name: string;
  /** Bytes in total. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`, in `into` (its first `length` bytes; it may view a SharedArrayBuffer) or in
   * a fresh array. Throws InputError when the source ends earlier.
   */
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Anything that `openSource` accepts: a path (Node), a Blob or File (page), bytes, or a source already open. */
export type SourceLike = string | Blob | ArrayBuffer | Uint8Array | ByteSource;

/** Largest single request to the system; longer reads are split. */
const REQUEST_BYTES = 1 << 28;

function check(source: ByteSource, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new InputError(`${source.name} is damaged: it points to ${length} bytes at ${offset}.`);
  }
  if (offset + length > source.size) {
    throw new InputError(
      `${source.name} is truncated: expected ${offset + length} bytes or more, found ${source.size}; get it again.`,
    );
  }
}

function target(source: ByteSource, offset: number, length: number, into?: Uint8Array): Uint8Array {
  check(source, offset, length);
  if (into === undefined) return new Uint8Array(length);
  if (into.byteLength < length) throw new InputError(`${source.name}: ${length} bytes do not fit ${into.byteLength}.`);
  return into.subarray(0, length);
}

class BytesSource implements ByteSource {
  readonly size: number;
  constructor(
    readonly name: string,
    private readonly bytes: Uint8Array,
  ) {
    this.size = bytes.byteLength;
  }
  async read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    const out = target(this, offset, length, into);
    out.set(this.bytes.subarray(offset, offset + length));
    return out;
  }
  async close(): Promise<void> {}
}

class BlobSource implements ByteSource {
  readonly size: number;
  constructor(
    readonly name: string,
    private readonly blob: Blob,
  ) {
    this.size = blob.size;
  }
  async read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    const out = target(this, offset, length, into);
    // In pieces, so that a large tensor is not held twice.
    const step = 1 << 24;
    for (let at = 0; at < length; at += step) {
      const end = Math.min(length, at + step);
      out.set(new Uint8Array(await this.blob.slice(offset + at, offset + end).arrayBuffer()), at);
    }
    return out;
  }
  async close(): Promise<void> {}
}

interface FileHandle {
  read(into: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  close(): Promise<void>;
}

class FileSource implements ByteSource {
  constructor(
    readonly name: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}
  async read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    const out = target(this, offset, length, into);
    let at = 0;
    while (at < length) {
      const { bytesRead } = await this.handle.read(out, at, Math.min(length - at, REQUEST_BYTES), offset + at);
      if (bytesRead === 0) throw new InputError(`${this.name} became shorter while it was read; try again.`);
      at += bytesRead;
    }
    return out;
  }
  close(): Promise<void> {
    return this.handle.close();
  }
}

/** A window of another source. Closing it leaves the other open. */
export class SliceSource implements ByteSource {
  readonly name: string;
  constructor(
    private readonly whole: ByteSource,
    private readonly start: number,
    readonly size: number,
  ) {
    this.name = whole.name;
  }
  async read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    check(this, offset, length);
    return this.whole.read(this.start + offset, length, into);
  }
  async close(): Promise<void> {}
}

async function openFile(path: string): Promise<ByteSource> {
  if (path === '') throw new InputError('The name of a checkpoint is empty; give the path of a file.');
  const { open, stat } = await import('node:fs/promises');
  try {
    // Before opening: a pipe would block, a device may never end.
    const info = await stat(path);
    if (info.isDirectory()) throw new InputError(`${path} is a folder; give the checkpoint file in it.`);
    if (!info.isFile()) throw new InputError(`${path} is not a regular file.`);
    const handle = await open(path, 'r');
    return new FileSource(path, (await handle.stat()).size, handle);
  } catch (error) {
    if (error instanceof InputError) throw error;
    const code = (error as { code?: string }).code;
    if (code === 'ENOENT') {
      const hint = /^https?:/i.test(path) ? '; download it first and give its path' : '';
      throw new InputError(`No such file: ${path}${hint}.`);
    }
    throw new InputError(`Cannot open ${path}: ${messageOf(error)}.`);
  }
}

/** Bytes in memory as a source, without a copy. */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return new BytesSource(name, bytes);
}

/** Opens a path, Blob, File or bytes for reading; `name` is what messages call it. Close it when done. */
export async function openSource(from: SourceLike, name?: string): Promise<ByteSource> {
  if (typeof from === 'string') return openFile(from);
  if (from instanceof Uint8Array) return new BytesSource(name ?? 'checkpoint', from);
  if (from instanceof ArrayBuffer) return new BytesSource(name ?? 'checkpoint', new Uint8Array(from));
  if (typeof Blob !== 'undefined' && from instanceof Blob) {
    return new BlobSource(name ?? ('name' in from ? String(from.name) : 'checkpoint'), from);
  }
  const source = from as ByteSource | null;
  if (typeof source?.read === 'function') return source;
  throw new InputError(`Expected a checkpoint as a path, a Blob or File, or bytes, got ${String(from).slice(0, 80)}.`);
}

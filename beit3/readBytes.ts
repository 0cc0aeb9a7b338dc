/** Whole small files (tokenizers, images, labels) from wherever a person keeps them, never more than a given size. */

import { InputError, messageOf } from '../core/errors.js';
import { inNode } from '../core/runtime.js';

/** A path (Node), an http(s) address, a URL, a Blob or File, or the bytes themselves. */
export type ByteSource = string | URL | Blob | Uint8Array | ArrayBuffer;

export interface ReadLimits {
  /** What the file is, for messages: `the image`. */
  what: string;
  /** More than this is refused before it is read. */
  maxBytes: number;
}

/** How a source is called in messages. */
export function sourceName(source: ByteSource, what: string): string {
  if (typeof source === 'string') return source.startsWith('data:') ? what : source;
  if (source instanceof URL) return source.href;
  const name = typeof File !== 'undefined' && source instanceof File ? source.name : '';
  return name === '' ? what : name;
}

/** Reads all of `source`. Throws InputError for a missing, unreadable or oversized one. */
export async function readBytes(source: ByteSource, limits: ReadLimits): Promise<Uint8Array> {
  const name = sourceName(source, limits.what);
  if (source instanceof Uint8Array) return bounded(source, name, limits);
  if (source instanceof ArrayBuffer) return bounded(new Uint8Array(source), name, limits);
  if (typeof source !== 'string' && !(source instanceof URL)) {
    if (!(source instanceof Blob)) {
      const got = source === null ? 'null' : typeof source;
      throw new InputError(`Expected ${limits.what} as a path, an address, a Blob or File, or bytes, got ${got}.`);
    }
    refuseLarge(source.size, name, limits);
    return new Uint8Array(await source.arrayBuffer());
  }
  const address = String(source);
  const isAddress = /^(https?|data|blob):/i.test(address);
  if (!inNode() || isAddress) return fetchBytes(address, name, limits);
  return readFile(source, name, limits);
}

async function readFile(source: string | URL, name: string, limits: ReadLimits): Promise<Uint8Array> {
  if (source === '') throw new InputError(`The name of ${limits.what} is empty; give the path of a file.`);
  const { open, stat } = await import('node:fs/promises');
  try {
    const path = source instanceof URL || /^file:/i.test(source) ? new URL(source) : source;
    const info = await stat(path);
    if (info.isDirectory()) throw new InputError(`${name} is a folder, not ${limits.what}; give the path of a file.`);
    if (info.isFIFO()) return await readStream(await openPipe(path), name, limits);
    const file = await open(path, 'r');
    try {
      refuseLarge(info.size, name, limits);
      const bytes = info.isFile() ? await file.readFile() : await readStream(file.createReadStream(), name, limits);
      return bounded(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), name, limits);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new InputError(`There is no file ${name}; give the path of ${limits.what}.`);
    }
    throw new InputError(`Cannot read ${limits.what} ${name}: ${messageOf(error)}.`);
  }
}

/** A pipe, opened without waiting for its writer: a thread that waits could not even be stopped by Ctrl-C. */
async function openPipe(path: string | URL): Promise<AsyncIterable<Uint8Array>> {
  const { constants, openSync } = await import('node:fs');
  const { Socket } = await import('node:net');
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

async function fetchBytes(address: string, name: string, limits: ReadLimits): Promise<Uint8Array> {
  try {
    const response = await fetch(address);
    if (!response.ok || response.body === null) {
      throw new InputError(`Cannot fetch ${limits.what} ${name}: the server answered ${response.status}.`);
    }
    refuseLarge(Number(response.headers.get('content-length') ?? 0), name, limits);
    return await readStream(chunksOf(response.body), name, limits);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`Cannot fetch ${limits.what} ${name}: ${messageOf(error)}.`);
  }
}

/** Not every browser lets a ReadableStream be iterated. */
async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (let step = await reader.read(); !step.done; step = await reader.read()) yield step.value;
  } finally {
    await reader.cancel();
  }
}

async function readStream(
  stream: AsyncIterable<Uint8Array>,
  name: string,
  limits: ReadLimits,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    refuseLarge(size, name, limits);
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function bounded(bytes: Uint8Array, name: string, limits: ReadLimits): Uint8Array {
  refuseLarge(bytes.length, name, limits);
  return bytes;
}

function refuseLarge(size: number, name: string, { what, maxBytes }: ReadLimits): void {
  if (size <= maxBytes) return;
  const mib = (n: number): string => `${(n / 2 ** 20).toFixed(0)} MiB`;
  throw new InputError(
    `${name} holds more than the ${mib(maxBytes)} that ${what} may have; give the right file, or a smaller one.`,
  );
}

/** Files that data lies in, here or behind an address, and their bytes as they come. Node only. */
import { InputError, messageOf } from '../../../core/errors.js';
import { unreadable } from '../jsonl.js';

const MOST_SHARDS = 1_000_000;
/** A connection that breaks is taken up again so many times in a row. */
const TRIES = 5;
/** Of a file that are read at once. */
const CHUNK = 1 << 20;

const COMPRESSED = /\.(gz|tgz|zst|bz2|xz|lz4|zip)$/i;

/** Why a compressed file is refused: of it, nothing can be read without all that lies before. */
export function compressed(path: string): InputError {
  return new InputError(`${path} is compressed; unpack it first, so that reading can go on in its middle.`);
}

export const isAddress = (shard: string): boolean => /^https?:\/\//i.test(shard);

/** Whether a file or an address (which may end in a query) names an archive. */
export const isTar = (shard: string): boolean => /\.tar$/i.test(nameOf(shard));

/** A path, or an address without its query. */
function nameOf(shard: string): string {
  return isAddress(shard) ? shard.replace(/[?#].*$/s, '') : shard;
}

/** `a{00..02}b` -> a00b, a01b, a02b; `{x,y}` too. Throws InputError for more than a million. */
export function expandBraces(pattern: string): string[] {
  const match = /\{([^{}]*)\}/.exec(pattern);
  if (!match) return [pattern];
  const range = /^(\d+)\.\.(\d+)$/.exec(match[1]);
  let middles: string[];
  if (range) {
    const [first, last] = [Number(range[1]), Number(range[2])];
    if (last < first || last - first >= MOST_SHARDS)
      throw new InputError(`${pattern}: expected a rising range of at most ${MOST_SHARDS} numbers, got {${match[1]}}.`);
    middles = Array.from({ length: last - first + 1 }, (_, i) => String(first + i).padStart(range[1].length, '0'));
  } else middles = match[1].split(',');
  const [before, after] = [pattern.slice(0, match.index), pattern.slice(match.index + match[0].length)];
  const all = middles.flatMap((middle) => expandBraces(before + middle + after));
  if (all.length > MOST_SHARDS) throw new InputError(`${pattern} stands for more than ${MOST_SHARDS} files.`);
  return all;
}

/**
 * The files that patterns name: paths and addresses with braces, `*` in the last part of a path, and folders, of which all
 * files are taken whose names `fits`. Sorted within each pattern. Throws InputError where a pattern names none.
 */
export async function findShards(patterns: readonly string[], fits: RegExp, what: string): Promise<string[]> {
  const { readdir, stat } = await import('node:fs/promises');
  const { basename, dirname, join } = await import('node:path');
  const found: string[] = [];
  for (const pattern of patterns) {
    for (const path of expandBraces(pattern)) {
      if (COMPRESSED.test(nameOf(path))) throw compressed(path);
      if (isAddress(path)) {
        found.push(path);
        continue;
      }
      const list = async (folder: string, name: RegExp): Promise<string[]> => {
        const names = await readdir(folder).catch((error: unknown) => unreadable(folder, `a folder of ${what}`, error));
        const matching = names.filter((n) => name.test(n)).sort();
        if (matching.length === 0) throw new InputError(`${path} names no file; expected ${what}.`);
        return matching.map((n) => join(folder, n));
      };
      if (basename(path).includes('*')) {
        const name = new RegExp(`^${basename(path).split('*').map(escaped).join('.*')}$`);
        found.push(...(await list(dirname(path), name)));
        continue;
      }
      const info = await stat(path).catch((error: unknown) => unreadable(path, what, error));
      if (info.isDirectory()) found.push(...(await list(path, fits)));
      else found.push(path);
    }
  }
  return found;
}

function escaped(part: string): string {
  return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/**
 * The bytes of a file or an address from byte `from` on, in chunks that hold what they do until the next is asked for.
 * Throws InputError where they cannot be had.
 */
export function shardBytes(shard: string, from = 0): AsyncGenerator<Uint8Array> {
  return isAddress(shard) ? fetched(shard, from) : fileBytes(shard, from);
}

async function* fileBytes(path: string, from: number): AsyncGenerator<Uint8Array> {
  const { open } = await import('node:fs/promises');
  const refuse = (error: unknown): never => unreadable(path, 'a file of training data', error);
  const handle = await open(path).catch(refuse);
  // One is read into while the other is used.
  let [full, empty] = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)];
  let at = from;
  const begin = (buffer: Uint8Array) => {
    const reading = handle.read(buffer, 0, CHUNK, at);
    // Whoever asks for the chunk hears of it; nobody may.
    reading.catch(() => {});
    return reading;
  };
  let ahead = begin(full);
  try {
    while (true) {
      const { bytesRead } = await ahead.catch(refuse);
      if (bytesRead === 0) return;
      at += bytesRead;
      ahead = begin(empty);
      yield full.subarray(0, bytesRead);
      [full, empty] = [empty, full];
    }
  } finally {
    await ahead.catch(() => {});
    await handle.close();
  }
}

/** Goes on where a connection broke, by a range where the server knows them and else by passing over what was had. */
async function* fetched(address: string, from: number): AsyncGenerator<Uint8Array> {
  let at = from;
  let failures = 0;
  while (true) {
    const abort = new AbortController();
    try {
      const headers: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {};
      const response = await fetch(address, { headers, signal: abort.signal });
      // What begins at the very end has nothing more.
      if (response.status === 416) return;
      if (!response.ok || response.body === null) {
        const refused = new InputError(`Cannot fetch ${address}: the server answered ${response.status}.`);
        if (response.status < 500) throw refused;
        throw new Error(refused.message);
      }
      const said = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
      if (response.status === 206 && said !== undefined && Number(said) !== at)
        throw new InputError(`Cannot fetch ${address}: the server gives bytes from ${said} on, not from ${at}.`);
      let toSkip = response.status === 206 ? 0 : at;
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        const part = chunk.subarray(Math.min(toSkip, chunk.length));
        toSkip -= chunk.length - part.length;
        if (part.length === 0) continue;
        at += part.length;
        failures = 0;
        yield part;
      }
      return;
    } catch (error) {
      if (error instanceof InputError) throw error;
      if (++failures >= TRIES)
        throw new InputError(`Cannot fetch ${address}: ${messageOf(error)} (tried ${TRIES} times).`);
      await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** failures));
    } finally {
      abort.abort();
    }
  }
}

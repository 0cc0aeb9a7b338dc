/**
 * The drawn corpus on disk: `emoji-<size>px-<key>.rgb` with the pixels and a `.json` of the same name with the entries
 * and the hash of the pixels. Anything that does not fit together counts as no cache. Needs Node.
 */

import { ensureFolder } from '../../checkpoints/sink.js';
import { InputError, messageOf } from '../../core/errors.js';
import type { EmojiEntry } from './join.js';

/** All that decides what a drawing looks like; a file belongs to exactly one key. */
export interface CacheKey {
  format: number;
  size: number;
  /** Of every package that takes part; the names of the styles are among them. */
  versions: Record<string, string>;
}

interface CachedCorpus {
  entries: EmojiEntry[];
  pixels: Uint8Array;
}

/** The cached corpus of that key, or undefined if there is none that is whole. */
export async function readCache(key: CacheKey, directory?: string): Promise<CachedCorpus | undefined> {
  const { readFile } = await import('node:fs/promises');
  const base = await cacheBase(key, directory);
  try {
    const saved: unknown = JSON.parse(await readFile(`${base}.json`, 'utf8'));
    if (!isSaved(saved) || JSON.stringify(saved.key) !== JSON.stringify(key)) return undefined;
    const { entries } = saved;
    const pixels = await readFile(`${base}.rgb`);
    const whole = pixels.length === entries.length * key.size * key.size * 3;
    if (!whole || (await sha256(pixels)) !== saved.sha256) return undefined;
    return { entries, pixels };
  } catch {
    return undefined;
  }
}

/** Saves the corpus; each file appears whole or not at all. Throws InputError where the directory cannot be written. */
export async function writeCache(key: CacheKey, corpus: CachedCorpus, directory?: string): Promise<void> {
  const { rename, rm, writeFile } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  const base = await cacheBase(key, directory);
  const json = JSON.stringify({ key, sha256: await sha256(corpus.pixels), entries: corpus.entries });
  const temporary = `${base}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`;
  try {
    await ensureFolder(dirname(base));
    for (const [extension, content] of [['rgb', corpus.pixels] as const, ['json', json] as const]) {
      await writeFile(temporary, content);
      await rename(temporary, `${base}.${extension}`);
    }
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new InputError(`the emoji cannot be cached (${messageOf(error)}): set AZULEJO_CACHE to a writable folder`);
  }
}

async function cacheBase(key: CacheKey, directory?: string): Promise<string> {
  const { join } = await import('node:path');
  const hash = await sha256(new TextEncoder().encode(JSON.stringify(key)));
  return join(directory ?? (await defaultDirectory()), `emoji-${key.size}px-${hash.slice(0, 16)}`);
}

async function defaultDirectory(): Promise<string> {
  const { join, dirname, resolve } = await import('node:path');
  const { existsSync } = await import('node:fs');
  const { fileURLToPath } = await import('node:url');
  if (process.env.AZULEJO_CACHE) return resolve(process.env.AZULEJO_CACHE, 'emoji');
  // Up to the folder with package.json: the depth differs between sources and dist/.
  let root = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(root, 'package.json')) && dirname(root) !== root) root = dirname(root);
  return join(root, '.cache', 'azulejo', 'emoji');
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const { createHash } = await import('node:crypto');
  return createHash('sha256').update(bytes).digest('hex');
}

function isSaved(value: unknown): value is { key: unknown; sha256: string; entries: EmojiEntry[] } {
  if (typeof value !== 'object' || value === null) return false;
  const { sha256, entries } = value as Record<string, unknown>;
  return typeof sha256 === 'string' && Array.isArray(entries) && entries.every(isEntry);
}

function isEntry(value: unknown, index: number): value is EmojiEntry {
  if (typeof value !== 'object' || value === null) return false;
  const entry = value as Record<string, unknown>;
  const texts = ['style', 'hexcode', 'emoji', 'label', 'group', 'subgroup'];
  return (
    texts.every((field) => typeof entry[field] === 'string') &&
    Array.isArray(entry.tags) &&
    entry.tags.every((tag) => typeof tag === 'string') &&
    entry.image === index
  );
}

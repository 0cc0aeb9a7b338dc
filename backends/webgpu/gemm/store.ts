/** Where measured choices are kept between runs: a file per adapter in Node, the page's private files in a browser. */

import { inNode, pageFolder } from '../../../core/runtime.js';
import type { AdapterFacts } from '../device.js';

/** Names of the fastest ways by class of products. */
export type Choices = ReadonlyMap<string, string>;

/** Counts changes of the kernels or of the classes: choices of another version mean nothing. */
const VERSION = 1;
const MOST_BYTES = 2 ** 20;
const MOST_CHOICES = 5000;
const LONGEST = 200;

/** The choices in a text, which a stranger may have written: whatever is not one is left out. */
export function parseChoices(text: string): Map<string, string> {
  const choices = new Map<string, string>();
  if (text.length > MOST_BYTES) return choices;
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return choices;
  }
  const { version, ways } = (data ?? {}) as { readonly version?: unknown; readonly ways?: unknown };
  if (version !== VERSION || typeof ways !== 'object' || ways === null) return choices;
  for (const [key, name] of Object.entries(ways).slice(0, MOST_CHOICES))
    if (key.length <= LONGEST && typeof name === 'string' && name.length <= LONGEST) choices.set(key, name);
  return choices;
}

export const formatChoices = (choices: Choices): string =>
  `${JSON.stringify({ version: VERSION, ways: Object.fromEntries([...choices].sort()) }, null, 1)}\n`;

/** The name of the file of an adapter. */
export function fileName({ vendor, architecture, description }: AdapterFacts): string {
  const plain = [vendor, architecture, description]
    .join('-')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-');
  return `webgpu-${plain.slice(0, 100)}.json`;
}

/** `AZULEJO_CACHE`, else `~/.cache/azulejo` (Node). */
async function cacheFolder(): Promise<string> {
  const { homedir } = await import('node:os');
  const { join } = await import('node:path');
  return process.env.AZULEJO_CACHE || join(homedir(), '.cache', 'azulejo');
}

/** The choices that were kept for an adapter; none where nothing can be read. */
export async function readChoices(facts: AdapterFacts): Promise<Map<string, string>> {
  try {
    if (inNode()) {
      const { readFile, stat } = await import('node:fs/promises');
      const { join } = await import('node:path');
      const file = join(await cacheFolder(), fileName(facts));
      if ((await stat(file)).size > MOST_BYTES) return new Map();
      return parseChoices(await readFile(file, 'utf8'));
    }
    const folder = await pageFolder();
    const file = await (await folder.getFileHandle(fileName(facts))).getFile();
    return file.size > MOST_BYTES ? new Map() : parseChoices(await file.text());
  } catch {
    return new Map();
  }
}

/** Makes a folder and those above it, one by one: mkdir's own recursion never comes back below /proc. */
async function makeFolder(folder: string): Promise<void> {
  const { mkdir } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  try {
    await mkdir(folder);
  } catch (error) {
    const { code } = error as { readonly code?: string };
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    await makeFolder(dirname(folder));
    await mkdir(folder);
  }
}

/** Keeps choices for the next run; throws where nothing can be written. */
export async function writeChoices(facts: AdapterFacts, choices: Choices): Promise<void> {
  const text = formatChoices(choices);
  if (!inNode()) {
    const folder = await pageFolder();
    const writable = await (await folder.getFileHandle(fileName(facts), { create: true })).createWritable();
    await writable.write(text);
    // The file changes as a whole, here.
    await writable.close();
    return;
  }
  const { rename, rm, writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const folder = await cacheFolder();
  const file = join(folder, fileName(facts));
  const partial = `${file}.${process.pid}.tmp`;
  await makeFolder(folder);
  try {
    await writeFile(partial, text);
    await rename(partial, file);
  } finally {
    await rm(partial, { force: true });
  }
}

import { parseJson } from '../beit3/checkpoint.js';
import { listImageFiles } from '../beit3/images/index.js';
import { readBytes } from '../beit3/readBytes.js';
import { cacheDirectory } from '../checkpoints/index.js';
import { InputError, messageOf } from '../core/errors.js';

/** The paths, once it is sure that there is something at each: before a large model is loaded. `hint` ends the refusal. */
export async function requireFiles(paths: readonly string[], hint = ''): Promise<readonly string[]> {
  const { stat } = await import('node:fs/promises');
  for (const path of paths) {
    if (path === '') throw new InputError('The name of a file is empty; give a path.');
    // Addresses are looked at when they are fetched.
    if (isAddress(path)) continue;
    await stat(path).catch((error: unknown) => {
      if ((error as { code?: string }).code === 'ENOENT') throw new InputError(`There is no file ${path}${hint}.`);
      throw new InputError(`Cannot read ${path}: ${messageOf(error)}.`);
    });
  }
  return paths;
}

function isAddress(path: string): boolean {
  return /^(https?|data|file):/i.test(path);
}

/** The images among files and below folders, in order; addresses stand for themselves. */
export async function imageFiles(places: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const place of places) found.push(...(isAddress(place) ? [place] : await listImageFiles(place)));
  return found;
}

/** Where a checkpoint lies: at the path given, else in the folder of `beit3 pull`, where the ending may be left out. */
export async function checkpointFile(path: string): Promise<string> {
  const { existsSync } = await import('node:fs');
  const { basename, join } = await import('node:path');
  if (existsSync(path) || basename(path) !== path) return path;
  const folder = await cacheDirectory();
  return [path, `${path}.pth`].map((name) => join(folder, name)).find((pulled) => existsSync(pulled)) ?? path;
}

const MAX_CONFIG_BYTES = 1 << 20;

/** The fields of a JSON file. Throws InputError for a file that holds no object. */
export async function configFile(path: string): Promise<Readonly<Record<string, unknown>>> {
  const bytes = await readBytes(path, { what: 'the config', maxBytes: MAX_CONFIG_BYTES });
  const json = parseJson(new TextDecoder().decode(bytes), path);
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new InputError(`${path} is no config: expected a JSON object of sizes, such as {"img_size": 224}.`);
}

/** Whether two paths lead to one file. */
export async function samePath(a: string, b: string): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  const [first, second] = await Promise.all([stat(a).catch(() => null), stat(b).catch(() => null)]);
  return first !== null && second !== null && first.ino === second.ino && first.dev === second.dev;
}

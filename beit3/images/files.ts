/** Image files of a folder, for the command line. Node only. */

import type { Dirent } from 'node:fs';
import { InputError, messageOf } from '../../core/errors.js';

const EXTENSIONS = /\.(png|jpe?g|jpe|jfif|webp|gif|avif|tiff?)$/i;

/**
 * The image files that `paths` mean, in their order: a file stands for itself whatever its name, a folder for all files
 * with the ending of an image in it and below it, sorted by path. Hidden ones are left out, links to folders not
 * followed. Throws InputError for a path that does not exist and for a folder without images.
 */
export async function listImageFiles(paths: string | readonly string[]): Promise<string[]> {
  const { stat } = await import('node:fs/promises');
  const files: string[] = [];
  for (const path of typeof paths === 'string' ? [paths] : paths) {
    const info = await stat(path).catch((error: unknown) => {
      throw new InputError(`There is no image or folder ${path}; give the path of one (${messageOf(error)}).`);
    });
    if (!info.isDirectory()) {
      files.push(path);
      continue;
    }
    const before = files.length;
    await walk(path, files);
    if (files.length === before) {
      throw new InputError(`The folder ${path} has no images (PNG, JPEG, WebP, GIF, AVIF, TIFF); give another one.`);
    }
  }
  return files;
}

async function walk(folder: string, files: string[]): Promise<void> {
  const { readdir, stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw new InputError(`Cannot read the folder ${folder}: ${messageOf(error)}.`);
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await walk(path, files);
    else if (EXTENSIONS.test(entry.name)) {
      const isFile = entry.isFile() || (await stat(path).catch(() => undefined))?.isFile();
      if (isFile) files.push(path);
    }
  }
}

/**
 * Index files of ImageNet from train/ and val/ with a folder for each class, equal to those of the reference byte for
 * byte. What is peculiar about them there, and kept:
 *  - Classes are the folders of train/ alone, numbered in the order of their names; others in val/ are left out.
 *  - Every file below a class folder counts, whatever its ending, links included.
 * The reference cuts from each path whatever its two folders' names have in common; here paths are relative to the data
 * folder, which is the same for train/ and val/.
 */
import type { Dirent } from 'node:fs';
import { InputError, messageOf } from '../../../core/errors.js';
import { byCodePoint, pythonJoin } from '../pythonJson.js';
import type { ImageNetRow } from '../rows.js';
import { type IndexJob, type IndexOptions, type IndexReport, runIndex } from './job.js';

/** Deeper than any data set; links that lead back up would never end. */
const MAX_DEPTH = 32;

/** imagenet.{train,val}.index.jsonl. */
export function indexImageNet(options: IndexOptions): Promise<IndexReport> {
  return runIndex(options, '', async (job) => {
    const classes = await classFolders(job, 'train');
    const known = new Set(classes);
    for (const split of ['train', 'val']) {
      if (!job.wants(split)) continue;
      const here = split === 'train' ? known : new Set(await classFolders(job, split));
      const left = [...here].filter((name) => !known.has(name)).length;
      if (left > 0) job.notes.push(`${left} folders of ${split}/ are no classes of train/ and were left out.`);
      const rows: ImageNetRow[] = [];
      for (const [label, name] of classes.entries()) {
        if (!here.has(name)) continue;
        job.step(`listing ${split}/`, label, null);
        for (const image_path of await filesBelow(job.options.data, pythonJoin(split, name)))
          rows.push({ image_path, label });
      }
      await job.write(`imagenet.${split}.index.jsonl`, rows);
    }
  });
}

async function classFolders(job: IndexJob, split: string): Promise<string[]> {
  const { stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const { data } = job.options;
  if (!(await stat(join(data, split)).catch(() => undefined))?.isDirectory()) {
    throw new InputError(
      `There is no folder ${join(data, split)}; expected train/ and val/ with a folder for each class (or, when ${data} holds the class folders itself, a share for validation: --val-share 0.1).`,
    );
  }
  const { folders } = await list(data, split);
  if (folders.length === 0)
    throw new InputError(`${join(data, split)} has no folders; expected one for each class, with its images.`);
  return folders;
}

/** Folders and files in a folder, links followed, each in the order of Python's sorted(). */
export async function list(data: string, folder: string): Promise<{ folders: string[]; files: string[] }> {
  const { readdir, stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  let entries: Dirent[];
  try {
    entries = await readdir(join(data, folder), { withFileTypes: true });
  } catch (error) {
    throw new InputError(`Cannot read the folder ${join(data, folder)}: ${messageOf(error)}.`);
  }
  const folders: string[] = [];
  const files: string[] = [];
  for (const entry of entries) {
    const link = entry.isSymbolicLink();
    const isFolder = link
      ? ((await stat(join(data, folder, entry.name)).catch(() => undefined))?.isDirectory() ?? false)
      : entry.isDirectory();
    (isFolder ? folders : files).push(entry.name);
  }
  return { folders: folders.sort(byCodePoint), files: files.sort(byCodePoint) };
}

/** All files below a folder of `data`, by the path of their folder and then by name. */
export async function filesBelow(data: string, folder: string): Promise<string[]> {
  const found: { folder: string; files: string[] }[] = [];
  const walk = async (path: string, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH) throw new InputError(`${path} in ${data} is too deep: more than ${MAX_DEPTH} folders.`);
    const { folders, files } = await list(data, path);
    found.push({ folder: path, files });
    for (const name of folders) await walk(pythonJoin(path, name), depth + 1);
  };
  await walk(folder, 0);
  found.sort((a, b) => byCodePoint(a.folder, b.folder));
  return found.flatMap(({ folder: path, files }) => files.map((name) => pythonJoin(path, name)));
}

/** Streams of pictures: folders of image files and tar shards. Node only. */
import { InputError } from '../../../core/errors.js';
import { unreadable } from '../jsonl.js';
import { type MemberGroup, pictureOf, placeOf, readGroups } from './members.js';
import { findShards, isAddress, isTar } from './shards.js';
import { type RecordSource, ShuffledStream, type ShuffleOptions } from './shuffled.js';
import type { ImageSample, SampleStream } from './stream.js';

const PICTURE = /\.(jpe?g|png|webp|gif|avif|tiff?)$/i;
const WHAT = 'pictures: a folder of image files, or .tar shards';

/** All picture files below a folder, sorted. */
export async function picturesBelow(folder: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) =>
    unreadable(folder, WHAT, error),
  );
  return entries
    .filter((entry) => !entry.isDirectory() && PICTURE.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/**
 * Opens pictures: folders of image files (with all folders below), single files, or .tar shards, by path, pattern or
 * address. Throws InputError where there are none.
 */
export async function openPictures(
  patterns: readonly string[],
  options: ShuffleOptions = {},
): Promise<SampleStream<ImageSample>> {
  return new ShuffledStream(await pictureRecords(patterns), options);
}

/** The same pictures once, in the order of their files. `onSkip` is told of what is broken and passed over. */
export async function* eachPicture(
  patterns: readonly string[],
  onSkip: (reason: string) => void = () => {},
): AsyncGenerator<ImageSample> {
  const { shards, read, sample } = await pictureRecords(patterns);
  const pass = (error: unknown): null => {
    if (!(error instanceof InputError)) throw error;
    onSkip(error.message);
    return null;
  };
  const sampleOf = (record: unknown): ImageSample | null => {
    try {
      return sample(record, 0);
    } catch (error) {
      return pass(error);
    }
  };
  for (const shard of shards.keys()) {
    const records = read(shard, [])[Symbol.asyncIterator]();
    try {
      // The rest of a damaged shard is lost, and nothing else.
      for (let next = await records.next().catch(pass); next && !next.done; next = await records.next().catch(pass)) {
        const found = sampleOf(next.value.record);
        if (found) yield found;
      }
    } finally {
      await records.return?.();
    }
  }
}

async function pictureRecords(patterns: readonly string[]): Promise<RecordSource<unknown, ImageSample>> {
  const { stat } = await import('node:fs/promises');
  const shards: string[] = [];
  const files: string[] = [];
  for (const pattern of patterns) {
    const isFolder = !isAddress(pattern) && (await stat(pattern).catch(() => null))?.isDirectory() === true;
    const inside = isFolder ? await picturesBelow(pattern) : [];
    if (inside.length > 0) files.push(...inside);
    else for (const shard of await findShards([pattern], /\.tar$/i, WHAT)) (isTar(shard) ? shards : files).push(shard);
  }
  if (shards.length > 0 && files.length > 0)
    throw new InputError(`${patterns.join(', ')}: expected either picture files or .tar shards, not both.`);
  const stray = files.find((file) => !PICTURE.test(file));
  if (stray !== undefined) throw new InputError(`${stray} is no picture by its name; expected ${WHAT}.`);
  return shards.length > 0 ? archived(shards) : plain(files);
}

function archived(shards: readonly string[]): RecordSource<MemberGroup, ImageSample> {
  return {
    shards,
    read: (shard, from) => readGroups(shards[shard], from, ['picture']),
    sample: (group) => ({ picture: pictureOf(group), where: placeOf(group) }),
  };
}

/** Files of a folder are drawn in an order of their own, not one buffer after the other. */
const FOLDER_SHARD = 64;

function plain(files: readonly string[]): RecordSource<string, ImageSample> {
  const shards = Array.from({ length: Math.ceil(files.length / FOLDER_SHARD) }, (_, i) => files[i * FOLDER_SHARD]);
  return {
    shards,
    async *read(shard, [from = 0]) {
      const own = files.slice(shard * FOLDER_SHARD, (shard + 1) * FOLDER_SHARD);
      for (let i = from; i < own.length; i++) yield { record: own[i], next: [i + 1], bytes: 0 };
    },
    sample: (file) => ({ picture: file, where: file }),
  };
}

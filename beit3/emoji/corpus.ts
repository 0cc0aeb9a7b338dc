/**
 * The emoji corpus: 12,005 real pairs of image and text in nine art styles, with no download beyond npm packages. The
 * pictures are the SVG sets of `@iconify-json/*` drawn by sharp; names, tags and groups come from `emojibase-data`.
 * All of these are development dependencies, so the corpus is built in a checkout. Needs Node.
 */

import { InputError } from '../../core/errors.js';
import { readCache, writeCache } from './cache.js';
import { drawSvg, encodePng, iconToSvg, isBlank, loadSharp } from './draw.js';
import {
  type EmojibaseEmoji,
  type EmojiEntry,
  type IconSet,
  joinIconSet,
  pictorialEmoji,
  resolveIcon,
} from './join.js';
import { packageVersion, readPackageJson } from './packages.js';

export type { EmojiEntry } from './join.js';

/** The nine styles, in the order of the corpus. */
export const EMOJI_STYLES: readonly string[] = [
  'noto',
  'noto-v1',
  'twemoji',
  'openmoji',
  'fluent-emoji',
  'fluent-emoji-flat',
  'emojione',
  'emojione-v1',
  'fxemoji',
];

export interface EmojiCorpusOptions {
  /** Side of the square images in pixels, 8 to 512; 32 by default. */
  size?: number;
  /** Some of `EMOJI_STYLES`, in any order; all by default. */
  styles?: readonly string[];
  /** Where drawings are kept; by default `$AZULEJO_CACHE/emoji`, else `.cache/azulejo/emoji` in the package. */
  cacheDirectory?: string;
  /** Called while drawing with the images done and wanted; not called when the corpus comes from the cache. */
  onProgress?: (done: number, total: number, style: string) => void;
}

/** Part of the cache's key: raise it when the join, the drawing or the format of the files changes. */
const FORMAT_VERSION = 1;

/** The corpus in memory: `entries` and their images, entry by entry. */
export class EmojiCorpus {
  readonly size: number;
  readonly styles: string[];
  readonly entries: EmojiEntry[];
  /** RGB bytes [N, size, size, 3] on white, image by image in the order of `entries`. */
  readonly pixels: Uint8Array;

  constructor(size: number, styles: string[], entries: EmojiEntry[], pixels: Uint8Array) {
    this.size = size;
    this.styles = styles;
    this.entries = entries;
    this.pixels = pixels;
  }

  /** The entries drawn in that style. Throws InputError for a style that the corpus does not hold. */
  ofStyle(style: string): EmojiEntry[] {
    if (!this.styles.includes(style)) {
      throw new InputError(`the emoji corpus holds the styles ${this.styles.join(', ')} and not "${style}"`);
    }
    return this.entries.filter((entry) => entry.style === style);
  }

  /** The distinct emoji by hexcode, each with its entries in the order of the styles. */
  byEmoji(): Map<string, EmojiEntry[]> {
    const found = new Map<string, EmojiEntry[]>();
    for (const entry of this.entries) {
      const same = found.get(entry.hexcode);
      if (same) same.push(entry);
      else found.set(entry.hexcode, [entry]);
    }
    return found;
  }

  /** Image `index` as a view on `pixels`: RGB bytes [size, size, 3]. */
  image(index: number): Uint8Array {
    const bytes = this.size * this.size * 3;
    if (!Number.isInteger(index) || index < 0 || index >= this.entries.length) {
      throw new InputError(`the emoji corpus has images 0 to ${this.entries.length - 1}, and ${index} was asked for`);
    }
    return this.pixels.subarray(index * bytes, (index + 1) * bytes);
  }

  /** Image `index` as a PNG file, enlarged `scale` times with hard edges. */
  png(index: number, scale = 1): Promise<Uint8Array> {
    return encodePng(this.image(index), this.size, this.size, scale);
  }

  /** Image `index` as a `data:` address for an HTML page. */
  async dataUri(index: number): Promise<string> {
    return `data:image/png;base64,${Buffer.from(await this.png(index)).toString('base64')}`;
  }
}

/**
 * The emoji corpus, from the cache if the same one was drawn before. Drawing all nine styles at 32 pixels takes about
 * twenty seconds on two cores; a cache that is missing or damaged is drawn again. Throws InputError for a size or
 * style that does not exist and for packages that are not installed.
 */
export async function loadEmojiCorpus(options: EmojiCorpusOptions = {}): Promise<EmojiCorpus> {
  const size = options.size ?? 32;
  if (!Number.isInteger(size) || size < 8 || size > 512) {
    throw new InputError(`the size of the emoji must be a whole number of pixels from 8 to 512, and ${size} was given`);
  }
  const unknown = options.styles?.find((style) => !EMOJI_STYLES.includes(style));
  if (unknown !== undefined) {
    throw new InputError(`unknown emoji style "${unknown}": the styles are ${EMOJI_STYLES.join(', ')}`);
  }
  const styles = EMOJI_STYLES.filter((style) => options.styles?.includes(style) ?? true);

  const versions: Record<string, string> = { sharp: (await loadSharp()).versions.sharp ?? 'unknown' };
  for (const name of ['emojibase-data', ...styles.map((style) => `@iconify-json/${style}`)]) {
    versions[name] = await packageVersion(name);
  }
  const key = { format: FORMAT_VERSION, size, versions };
  const cached = await readCache(key, options.cacheDirectory);
  if (cached) return new EmojiCorpus(size, styles, cached.entries, cached.pixels);

  const corpus = await drawCorpus(size, styles, options.onProgress);
  await writeCache(key, corpus, options.cacheDirectory);
  return corpus;
}

interface Messages {
  groups: { key: string; message: string }[];
  subgroups: { key: string; message: string }[];
}

/** The entries of the corpus without its pictures, in the same order where no picture is blank (none is). Draws nothing. */
export async function emojiEntries(styles: readonly string[] = EMOJI_STYLES): Promise<EmojiEntry[]> {
  return (await listDrawings(32, styles)).map(({ entry }, image) => ({ ...entry, image }));
}

interface Drawing {
  entry: Omit<EmojiEntry, 'image'>;
  svg: string;
}

async function listDrawings(size: number, styles: readonly string[]): Promise<Drawing[]> {
  const emoji = pictorialEmoji(await readPackageJson<EmojibaseEmoji[]>('emojibase-data', 'en/data.json'));
  const groupNames = await readPackageJson<Record<'groups' | 'subgroups', Record<string, string>>>(
    'emojibase-data',
    'meta/groups.json',
  );
  const messages = await readPackageJson<Messages>('emojibase-data', 'en/messages.json');
  const nameOf = (kind: 'groups' | 'subgroups', number: number | undefined) => {
    const key = groupNames[kind][String(number)];
    return messages[kind].find((m) => m.key === key)?.message ?? key;
  };

  const wanted: Drawing[] = [];
  for (const style of styles) {
    const set = await readPackageJson<IconSet>(`@iconify-json/${style}`, 'icons.json');
    const chars = await readPackageJson<Record<string, string>>(`@iconify-json/${style}`, 'chars.json');
    for (const { emoji: e, icon } of joinIconSet(emoji, set, chars)) {
      const resolved = resolveIcon(set, icon);
      if (!resolved) continue;
      const group = nameOf('groups', e.group);
      const subgroup = nameOf('subgroups', e.subgroup);
      const { hexcode, label, tags = [] } = e;
      const entry = { style, hexcode, emoji: e.emoji, label, tags, group, subgroup };
      wanted.push({ entry, svg: iconToSvg(resolved, size) });
    }
  }
  return wanted;
}

async function drawCorpus(
  size: number,
  styles: string[],
  onProgress: EmojiCorpusOptions['onProgress'],
): Promise<EmojiCorpus> {
  const wanted = await listDrawings(size, styles);
  const drawn = await drawAll(
    wanted.map((w) => w.svg),
    size,
    (done) => onProgress?.(done, wanted.length, wanted[Math.min(done, wanted.length - 1)].entry.style),
  );
  const kept = wanted.map((w, i) => ({ entry: w.entry, image: drawn[i] })).filter((k) => !isBlank(k.image));
  const pixels = new Uint8Array(kept.length * size * size * 3);
  kept.forEach((k, i) => {
    pixels.set(k.image, i * size * size * 3);
  });
  const entries = kept.map((k, image) => ({ ...k.entry, image }));
  return new EmojiCorpus(size, styles, entries, pixels);
}

/** Draws every SVG, a few at a time: the pictures are small, so one thread each and several pictures at once. */
async function drawAll(svgs: string[], size: number, onProgress: (done: number) => void): Promise<Uint8Array[]> {
  const sharp = await loadSharp();
  const { availableParallelism } = await import('node:os');
  const images: Uint8Array[] = new Array(svgs.length);
  let next = 0;
  let done = 0;
  const worker = async () => {
    while (next < svgs.length) {
      const i = next++;
      images[i] = await drawSvg(sharp, svgs[i], size);
      if (++done % 50 === 0 || done === svgs.length) onProgress(done);
    }
  };
  const threads = sharp.concurrency();
  sharp.concurrency(1);
  try {
    await Promise.all(Array.from({ length: Math.min(16, availableParallelism() + 1) }, worker));
  } finally {
    sharp.concurrency(threads);
  }
  return images;
}

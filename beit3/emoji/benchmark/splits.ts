/**
 * Who is trained on and who is held out: one whole style, and in every style a share of the emoji. Pure: the same
 * corpus, options and seed give the same splits.
 */

import { InputError } from '../../../core/errors.js';
import { Generator } from '../../../core/random.js';
import type { EmojiEntry } from '../corpus.js';
import { cleanText } from '../text.js';
import { groupBy } from './pool.js';
import { answersOf } from './vqa.js';

export interface EmojiBenchmarkOptions {
  /** Draws the zero-shot emoji and the validation pictures; 0 without it. */
  readonly seed?: number;
  /** The style that is never trained on; twemoji without it. */
  readonly heldOutStyle?: string;
  /** Share of the emoji that are never trained on in any style, 0 to 0.5; 0.1 without it. */
  readonly zeroShotShare?: number;
  /** Share of the pictures left to train on that are kept for choosing recipes, 0 to 0.5; 0.03 without it. */
  readonly valShare?: number;
}

/** The entries that training may see, and those it may not; `image` of an entry is still its place in the corpus. */
export interface EmojiSplits {
  /** Known styles, known emoji. */
  readonly train: readonly EmojiEntry[];
  /** Single pictures of known styles and known emoji that are not in `train`; each emoji has another picture there. */
  readonly val: readonly EmojiEntry[];
  /** The unseen style, emoji that `train` shows in other styles. */
  readonly test: readonly EmojiEntry[];
  /** The unseen style, emoji that `train` shows in no style and names nowhere. */
  readonly zeroShot: readonly EmojiEntry[];
  /** The emoji of `zeroShot` as the known styles draw them. */
  readonly zeroShotKnownStyles: readonly EmojiEntry[];
}

/** The names of the splits. */
export const EMOJI_SPLITS = ['train', 'val', 'test', 'zeroShot', 'zeroShotKnownStyles'] as const;
export type EmojiSplit = (typeof EMOJI_SPLITS)[number];

export interface EmojiBenchmark extends EmojiSplits {
  readonly seed: number;
  readonly heldOutStyle: string;
  /** Names of the classes: the subgroups that are large enough, in the order of the corpus. */
  readonly classes: readonly string[];
  /** The number of the entry's class; undefined for the few whose subgroup is no class. */
  classOf(entry: EmojiEntry): number | undefined;
  /** What all questions are answered with. */
  readonly answers: readonly string[];
  /** The number of an answer. Throws an Error for a text that is none. */
  answerOf(answer: string): number;
}

/** A subgroup with fewer emoji is no class: it could be neither learned nor tested. */
export const LEAST_IN_CLASS = 3;

/**
 * The benchmark of a corpus. Tags that are the name of a zero-shot emoji are taken from the entries, so that no text of
 * training names one. Throws InputError for a style that the corpus lacks or shares that are no shares.
 */
export function emojiBenchmark(
  corpus: { readonly entries: readonly EmojiEntry[]; readonly styles: readonly string[] },
  options: EmojiBenchmarkOptions = {},
): EmojiBenchmark {
  const { seed = 0, heldOutStyle = 'twemoji', zeroShotShare = 0.1, valShare = 0.03 } = options;
  if (!corpus.styles.includes(heldOutStyle) || corpus.styles.length < 2) {
    throw new InputError(
      `The style to hold out must be one of several of the corpus (${corpus.styles.join(', ')}), got ${JSON.stringify(heldOutStyle)}.`,
    );
  }
  for (const [name, share] of Object.entries({ zeroShotShare, valShare })) {
    if (!(share >= 0 && share <= 0.5)) throw new InputError(`${name} must be a share from 0 to 0.5, got ${share}.`);
  }
  const generator = new Generator(seed);
  const held = zeroShotEmoji(corpus.entries, zeroShotShare, generator);
  const drawn = new Set(corpus.entries.filter((e) => e.style !== heldOutStyle).map((e) => e.hexcode));
  const isZeroShot = (entry: EmojiEntry): boolean => held.has(entry.hexcode) || !drawn.has(entry.hexcode);

  const names = new Set(corpus.entries.filter(isZeroShot).map((entry) => cleanText(entry.label)));
  const entries = corpus.entries.map((entry) => ({
    ...entry,
    tags: entry.tags.filter((tag) => !names.has(cleanText(tag))),
  }));
  const known = entries.filter((entry) => entry.style !== heldOutStyle && !isZeroShot(entry));
  const val = validationPictures(known, valShare, generator);
  const unseen = entries.filter((entry) => entry.style === heldOutStyle);

  const classes = classesOf(corpus.entries);
  const classNumbers = new Map(classes.map((name, i) => [name, i]));
  const answers = answersOf(corpus.entries);
  const answerNumbers = new Map(answers.map((answer, i) => [answer, i]));
  return {
    seed,
    heldOutStyle,
    train: known.filter((entry) => !val.has(entry.image)),
    val: known.filter((entry) => val.has(entry.image)),
    test: unseen.filter((entry) => !isZeroShot(entry)),
    zeroShot: unseen.filter(isZeroShot),
    zeroShotKnownStyles: entries.filter((entry) => entry.style !== heldOutStyle && isZeroShot(entry)),
    classes,
    classOf: (entry) => classNumbers.get(entry.subgroup),
    answers,
    answerOf(answer) {
      const number = answerNumbers.get(answer);
      if (number === undefined) throw new Error(`${JSON.stringify(answer)} is no answer of the emoji benchmark`);
      return number;
    },
  };
}

/** Subgroups with enough emoji, in the order of the corpus. */
function classesOf(entries: readonly EmojiEntry[]): string[] {
  const bySubgroup = groupBy(entries, (entry) => entry.subgroup);
  const isClass = (of: readonly EmojiEntry[]): boolean => new Set(of.map((e) => e.hexcode)).size >= LEAST_IN_CLASS;
  return [...bySubgroup].filter(([, of]) => isClass(of)).map(([subgroup]) => subgroup);
}

/** The hexcodes of the emoji to hold out: of each subgroup its share, never more than half. */
function zeroShotEmoji(entries: readonly EmojiEntry[], share: number, generator: Generator): Set<string> {
  const held = new Set<string>();
  let due = 0;
  for (const of of groupBy(entries, (entry) => entry.subgroup).values()) {
    const emoji = [...new Set(of.map((entry) => entry.hexcode))];
    // What one subgroup is too small for goes to the next, so that the whole share is held out.
    due += share * emoji.length;
    const count = Math.min(Math.floor(due + 1e-9), Math.floor(emoji.length / 2));
    due -= count;
    for (const i of generator.permutation(emoji.length).subarray(0, count)) held.add(emoji[i]);
  }
  return held;
}

/** Corpus numbers of random pictures, none of them the last one of its emoji. */
function validationPictures(known: readonly EmojiEntry[], share: number, generator: Generator): Set<number> {
  const left = new Map<string, number>();
  for (const { hexcode } of known) left.set(hexcode, (left.get(hexcode) ?? 0) + 1);
  const wanted = Math.round(share * known.length);
  const chosen = new Set<number>();
  for (const i of generator.permutation(known.length)) {
    if (chosen.size === wanted) break;
    const { hexcode, image } = known[i];
    const pictures = left.get(hexcode) as number;
    if (pictures < 2) continue;
    left.set(hexcode, pictures - 1);
    chosen.add(image);
  }
  return chosen;
}

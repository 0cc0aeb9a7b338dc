/** The emoji of a split, prepared for making questions and sentences of them. */

import type { Generator } from '../../../core/random.js';
import type { EmojiEntry } from '../corpus.js';
import { cleanText, emojiTexts } from '../text.js';
import { KINDS } from './kinds.js';

/** Random numbers out of a generator, drawn some hundred at a time. */
export class Dice {
  private numbers: Float32Array = new Float32Array(0);
  private at = 0;

  constructor(private readonly generator: Generator) {}

  /** From 0 to below 1. */
  next(): number {
    if (this.at === this.numbers.length) {
      this.numbers = this.generator.uniform(256);
      this.at = 0;
    }
    return this.numbers[this.at++];
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
}

/** One emoji with its pictures in the split. */
export interface PoolEmoji {
  readonly entries: readonly EmojiEntry[];
  readonly group: string;
  readonly subgroup: string;
  /** The cleaned label, and how a sentence speaks of it: `a red apple`. */
  readonly label: string;
  readonly name: string;
  readonly tags: readonly string[];
  /** What a picture must be said to show for the label to be true of it. */
  readonly labelWords: readonly string[];
  /** All words of label and tags. */
  readonly words: ReadonlySet<string>;
}

/** What a kind holds in a pool: emoji that are surely of it and surely not. */
export interface PoolKind {
  readonly noun: string;
  readonly members: readonly PoolEmoji[];
  readonly others: readonly PoolEmoji[];
}

/** Share of the wrong choices that are of the same subgroup as the right one, where it has others. */
export const HARD = 0.7;
const TRIES = 12;

export class Pool {
  readonly emoji: readonly PoolEmoji[];
  readonly bySubgroup: ReadonlyMap<string, readonly PoolEmoji[]>;
  readonly byGroup: ReadonlyMap<string, readonly PoolEmoji[]>;
  /** Kinds of which the pool has both members and others. */
  readonly kinds: readonly PoolKind[];
  /** Emoji by cleaned label: names of kinds are left out, since `a bird` is asked of all birds. */
  readonly named: readonly PoolEmoji[];

  constructor(entries: readonly EmojiEntry[]) {
    const byHexcode = groupBy(entries, (entry) => entry.hexcode);
    this.emoji = [...byHexcode.values()].map(poolEmoji);
    this.bySubgroup = groupBy(this.emoji, (emoji) => emoji.subgroup);
    this.byGroup = groupBy(this.emoji, (emoji) => emoji.group);
    this.kinds = poolKinds(this.emoji);
    const nouns = new Set(KINDS.map(({ noun }) => noun));
    this.named = this.emoji.filter(({ name }) => !nouns.has(name));
  }

  /** An emoji of which no label of `of` is true, nor theirs of it; undefined where none was found. */
  other(dice: Dice, ...of: readonly PoolEmoji[]): PoolEmoji | undefined {
    const near = this.bySubgroup.get(of[0].subgroup) as readonly PoolEmoji[];
    const from = dice.next() < HARD ? [near, this.named] : [this.named];
    for (const candidates of from) {
      for (let i = 0; i < TRIES; i++) {
        const candidate = dice.of(candidates);
        if (of.every((emoji) => !isTrueOf(emoji, candidate) && !isTrueOf(candidate, emoji))) return candidate;
      }
    }
    return undefined;
  }
}

/** Whether a picture of `shown` can be said to show the label of `said`. */
export function isTrueOf(said: PoolEmoji, shown: PoolEmoji): boolean {
  return said === shown || said.labelWords.every((word) => shown.words.has(word));
}

/** One picture of an emoji, in any of its styles. */
export function pictureOf(emoji: PoolEmoji, dice: Dice): EmojiEntry {
  return dice.of(emoji.entries);
}

function poolEmoji(entries: readonly EmojiEntry[]): PoolEmoji {
  const [{ group, subgroup, label }] = entries;
  const [clean, ...tags] = emojiTexts(entries[0]);
  const words = new Set([clean, ...tags].flatMap(wordsOf));
  // A man walking is a person walking.
  if (words.has('man') || words.has('woman')) words.add('person');
  if (words.has('men') || words.has('women')) words.add('people');
  return {
    entries,
    group,
    subgroup,
    label: clean,
    name: nameOf(cleanText(label), subgroup),
    tags,
    labelWords: wordsOf(clean),
    words,
  };
}

/** The words of a cleaned text; signs that stand alone, as in `keycap: #`, count as words. */
export function wordsOf(text: string): string[] {
  return text.match(/[\p{L}\p{N}]+|[#*!?]/gu) ?? [text];
}

const UNCOUNTED =
  /^(mount fuji|tokyo tower|sake|mate|bacon|butter|salt|ice|popcorn|garlic|broccoli|ginger root|curry rice|cooked rice|canned food|spaghetti|oden|sushi|shaved ice|bowling|badminton|lacrosse|tennis|ping pong|field hockey|ice hockey|american football|cooking|camping|rolling on the floor laughing|.* claus|fog|foggy|yarn|soap|money|dna|om|zzz|customs|litter .*|no .*|locked.*|unlocked|multiply|minus|plus|divide|infinity|information|wireless|copyright|registered|performing arts|breast-feeding)$/;

/** How a sentence speaks of a label: with an article where English wants one, more or less. */
function nameOf(label: string, subgroup: string): string {
  if (label.startsWith('flag: ')) return `the flag of ${label.slice('flag: '.length)}`;
  if (subgroup === 'zodiac signs' || UNCOUNTED.test(label)) return label;
  if (/^(people|men|women|two|map|the|statue) /.test(label)) return label.startsWith('map') ? `a ${label}` : label;
  // The word that is counted comes before `with`, `of`, `:` and the like.
  const head = label.split(/:| (?:with|of|on|in|at|behind|without|wearing|holding|facing|pointing) /)[0];
  if (/[^su]s$/.test(head) && !/(is|us)$/.test(head)) return label;
  const an = /^[aeiou]/.test(label) ? !/^(uni|eu|one\b|one-)/.test(label) : /^(hour|x-ray|8)/.test(label);
  return `${an ? 'an' : 'a'} ${label}`;
}

function poolKinds(emoji: readonly PoolEmoji[]): PoolKind[] {
  const kinds = KINDS.map((kind) => {
    const members: PoolEmoji[] = [];
    const others: PoolEmoji[] = [];
    for (const one of emoji) {
      const label = one.entries[0].label;
      if (kind.subgroups.includes(one.subgroup)) {
        if (!kind.except?.includes(label)) members.push(one);
      } else if (!kind.unsure?.includes(one.subgroup) && !kind.words.some((word) => one.words.has(word))) {
        others.push(one);
      }
    }
    return { noun: kind.noun, members, others };
  });
  return kinds.filter(({ members, others }) => members.length > 0 && others.length > 0);
}

/** Items by a key, in the order in which the keys come. */
export function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}

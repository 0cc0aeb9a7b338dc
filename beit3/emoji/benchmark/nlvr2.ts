/**
 * Sentences about two pictures. They are made in blocks of four pairs for one sentence, of which it is true of two, as
 * in NLVR2: who reads the sentence only, or looks at one picture only, is at chance.
 */

import { InputError } from '../../../core/errors.js';
import { Generator } from '../../../core/random.js';
import type { EmojiEntry } from '../corpus.js';
import { Dice, Pool, type PoolEmoji, pictureOf } from './pool.js';

export type Nlvr2Form =
  | 'left'
  | 'right'
  | 'one of them'
  | 'one and other'
  | 'both kind'
  | 'neither kind'
  | 'one kind'
  | 'same kind'
  | 'same thing';

export interface EmojiNlvr2Example {
  readonly left: EmojiEntry;
  readonly right: EmojiEntry;
  readonly sentence: string;
  /** Whether the sentence is true. */
  readonly label: boolean;
  readonly form: Nlvr2Form;
  /** `split-set-pair-sentence`, as nlvr2Scores takes it: a block is a set with one sentence and four pairs. */
  readonly identifier: string;
}

/** Two pictures, and whether the sentence is true of them. */
type Pair = readonly [left: EmojiEntry, right: EmojiEntry, label: boolean];

interface Block {
  readonly sentence: string;
  readonly pairs: readonly Pair[];
}

/** Pairs for a sentence. */
const PAIRS = 4;

/** Makes sentences about pairs of pictures of a split; prepare it once. */
export class EmojiSentences {
  private readonly pool: Pool;
  private readonly inStyles: readonly PoolEmoji[];
  private readonly forms: readonly (readonly [Nlvr2Form, (dice: Dice) => Block | undefined])[];

  /** Throws InputError where there are fewer than three emoji to speak of. */
  constructor(entries: readonly EmojiEntry[]) {
    this.pool = new Pool(entries);
    const { emoji, kinds, named, bySubgroup } = this.pool;
    if (named.length < 3)
      throw new InputError(`Sentences need pictures of at least three emoji, got those of ${named.length}.`);
    this.inStyles = emoji.filter((one) => one.entries.length > 1);
    const subgroups = [...bySubgroup.values()].filter((of) => of.length > 1);
    const kind = (make: (noun: string, yes: () => EmojiEntry, no: () => EmojiEntry) => Block) => (dice: Dice) => {
      const { noun, members, others } = dice.of(kinds);
      return make(
        noun,
        () => pictureOf(dice.of(members), dice),
        () => pictureOf(dice.of(others), dice),
      );
    };
    const forms: readonly (readonly [Nlvr2Form, boolean, (dice: Dice) => Block | undefined])[] = [
      ['left', true, (dice) => this.side(dice, 'left')],
      ['right', true, (dice) => this.side(dice, 'right')],
      ['one of them', true, (dice) => this.oneOfThem(dice)],
      ['one and other', true, (dice) => this.oneAndOther(dice)],
      ['both kind', kinds.length > 0, kind(bothKind)],
      ['neither kind', kinds.length > 0, kind(neitherKind)],
      ['one kind', kinds.length > 0, kind(oneKind)],
      ['same kind', subgroups.length > 1, (dice) => sameKind(dice, subgroups)],
      ['same thing', this.inStyles.length > 1, (dice) => this.sameThing(dice)],
    ];
    this.forms = forms.filter(([, possible]) => possible).map(([form, , make]) => [form, make]);
  }

  /**
   * `count` examples (less what is left over a multiple of four) in random order: each sentence with two pairs of which
   * it is true and two of which it is not. `split` begins the identifiers. Equal states of the generator give equal
   * examples.
   */
  draw(count: number, generator: Generator, split = 'emoji'): EmojiNlvr2Example[] {
    const dice = new Dice(generator);
    const examples: EmojiNlvr2Example[] = [];
    for (let misses = 0; examples.length + PAIRS <= count; ) {
      const [form, make] = dice.of(this.forms);
      const block = make(dice);
      if (!block) {
        if (++misses > 5000) throw new InputError('The emoji are too few, or too much alike, to tell them apart.');
        continue;
      }
      misses = 0;
      const set = examples.length / PAIRS;
      block.pairs.forEach(([left, right, label], pair) => {
        const identifier = `${split}-${set}-${pair}-0`;
        examples.push({ left, right, sentence: block.sentence, label, form, identifier });
      });
    }
    return Array.from(generator.permutation(examples.length), (i) => examples[i]);
  }

  private side(dice: Dice, side: 'left' | 'right'): Block | undefined {
    const one = dice.of(this.pool.named);
    const two = this.pool.other(dice, one);
    const three = this.pool.other(dice, one);
    if (!two || !three) return undefined;
    // The same two emoji both ways round, so that only the place tells.
    const both = [two, three].flatMap((other) => [
      pair(dice, one, other, side === 'left'),
      pair(dice, other, one, side === 'right'),
    ]);
    return { sentence: `the ${side} picture shows ${one.name}.`, pairs: both };
  }

  private oneOfThem(dice: Dice): Block | undefined {
    const [one, two, three] = this.three(dice);
    if (!one || !two || !three) return undefined;
    return {
      sentence: `one of the pictures shows ${one.name}.`,
      pairs: [
        pair(dice, one, two, true),
        pair(dice, three, one, true),
        pair(dice, two, three, false),
        pair(dice, three, two, false),
      ],
    };
  }

  private oneAndOther(dice: Dice): Block | undefined {
    const [one, two, three] = this.three(dice);
    if (!one || !two || !three) return undefined;
    const [first, second] = dice.next() < 0.5 ? [one, two] : [two, one];
    return {
      sentence: `one picture shows ${first.name} and the other ${second.name}.`,
      pairs: [
        pair(dice, one, two, true),
        pair(dice, two, one, true),
        ...(dice.next() < 0.5
          ? [pair(dice, one, three, false), pair(dice, three, two, false)]
          : [pair(dice, three, one, false), pair(dice, two, three, false)]),
      ],
    };
  }

  /** Three emoji that are told apart from each other; those that are spoken of first have names. */
  private three(dice: Dice): [PoolEmoji?, PoolEmoji?, PoolEmoji?] {
    const one = dice.of(this.pool.named);
    const two = this.pool.other(dice, one);
    return two ? [one, two, this.pool.other(dice, one, two)] : [];
  }

  private sameThing(dice: Dice): Block | undefined {
    const one = dice.of(this.inStyles);
    const two = this.pool.other(dice, one);
    if (!two || two.entries.length < 2) return undefined;
    const [a, b] = twoPictures(one, dice);
    const [c, d] = twoPictures(two, dice);
    return {
      sentence: 'both pictures show the same thing.',
      pairs: [
        [a, b, true],
        [c, d, true],
        [a, d, false],
        [c, b, false],
      ],
    };
  }
}

/**
 * Examples of a split, each sentence true of two pairs and false of two. `count` is a multiple of four, or what is over
 * is left out. Throws InputError where the emoji are too few to speak of.
 */
export function nlvr2Examples(
  entries: readonly EmojiEntry[],
  { seed, count, split }: { readonly seed: number; readonly count: number; readonly split?: string },
): EmojiNlvr2Example[] {
  return new EmojiSentences(entries).draw(count, new Generator(seed), split);
}

function pair(dice: Dice, left: PoolEmoji, right: PoolEmoji, label: boolean): Pair {
  return [pictureOf(left, dice), pictureOf(right, dice), label];
}

type Draw = () => EmojiEntry;

function bothKind(noun: string, yes: Draw, no: Draw): Block {
  return {
    sentence: `both pictures show ${noun}.`,
    pairs: [
      [yes(), yes(), true],
      [yes(), yes(), true],
      [yes(), no(), false],
      [no(), yes(), false],
    ],
  };
}

/** The counterpart of bothKind: without it pictures of no kind would be seen with false sentences only. */
function neitherKind(noun: string, yes: Draw, no: Draw): Block {
  return {
    sentence: `neither picture shows ${noun}.`,
    pairs: [
      [no(), no(), true],
      [no(), no(), true],
      [yes(), no(), false],
      [no(), yes(), false],
    ],
  };
}

function oneKind(noun: string, yes: Draw, no: Draw): Block {
  return {
    sentence: `exactly one picture shows ${noun}.`,
    pairs: [
      [yes(), no(), true],
      [no(), yes(), true],
      [yes(), yes(), false],
      [no(), no(), false],
    ],
  };
}

/** Every picture stands once on its side in a true pair and once in a false one. */
function sameKind(dice: Dice, subgroups: readonly (readonly PoolEmoji[])[]): Block | undefined {
  const [one, two] = [dice.of(subgroups), dice.of(subgroups)];
  if (one === two) return undefined;
  const [a, b] = twoOf(one, dice).map((emoji) => pictureOf(emoji, dice));
  const [c, d] = twoOf(two, dice).map((emoji) => pictureOf(emoji, dice));
  return {
    sentence: 'both pictures show things of the same kind.',
    pairs: [
      [a, b, true],
      [c, d, true],
      [a, d, false],
      [c, b, false],
    ],
  };
}

/** Two different ones of at least two. */
function twoOf<T>(items: readonly T[], dice: Dice): [T, T] {
  const first = dice.below(items.length);
  const second = (first + 1 + dice.below(items.length - 1)) % items.length;
  return [items[first], items[second]];
}

/** The same emoji in two styles. */
function twoPictures(emoji: PoolEmoji, dice: Dice): [EmojiEntry, EmojiEntry] {
  return twoOf(emoji.entries, dice);
}

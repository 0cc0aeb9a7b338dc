/**
 * Questions about pictures. They are made in blocks: one question text, or the two orders of one, with a picture for
 * each of its answers. So over any whole blocks each text has each of its answers equally often, and who reads the
 * question only is at chance.
 */

import { InputError } from '../../../core/errors.js';
import { Generator } from '../../../core/random.js';
import type { EmojiEntry } from '../corpus.js';
import { Dice, Pool, type PoolEmoji, pictureOf, wordsOf } from './pool.js';

export type VqaForm =
  | 'label'
  | 'kind'
  | 'tag'
  | 'group'
  | 'subgroup'
  | 'either label'
  | 'either kind'
  | 'colour'
  | 'direction';

export interface EmojiVqaExample {
  readonly entry: EmojiEntry;
  readonly question: string;
  readonly answer: string;
  readonly form: VqaForm;
  /** Answers that the question has; without the picture each is as likely as the others. */
  readonly choices: number;
}

const YES = 'yes';
const NO = 'no';
const FIRST = 'the first';
const SECOND = 'the second';

const COLOURS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'brown', 'black', 'white', 'grey'];
/** Their label names a colour that the pictures have little of, or the colour of one part. */
const MISLEADING = /button|hair|mahjong|nib|white flower|cane|:/;

const DIRECTIONS = ['left', 'right', 'up', 'down'];
const POINTING = /^(left|right|up|down)(ward|wards)?$/;
/** Subgroups in which such a word says where something points. */
const POINTERS = [
  'arrows',
  'finger pointing',
  'fingers closed',
  'fingers open',
  'audio & video symbols',
  'shapes & colors',
];
const NOT_POINTING = ['curving', 'palm'];

/** The closed list of answers: groups and subgroups of the corpus among them. */
export function answersOf(entries: readonly EmojiEntry[]): string[] {
  const groups = entries.map((entry) => entry.group);
  const subgroups = entries.map((entry) => entry.subgroup);
  return [...new Set([YES, NO, FIRST, SECOND, ...COLOURS, ...DIRECTIONS, ...groups, ...subgroups])];
}

type Block = readonly Omit<EmojiVqaExample, 'form'>[];

interface FormMaker {
  /** Share of the examples. */
  readonly share: number;
  /** Examples in a block, about. */
  readonly size: number;
  /** Undefined where the draw led nowhere. */
  readonly make: (dice: Dice) => Block | undefined;
}

/** Makes questions about the pictures of a split; prepare it once. */
export class EmojiQuestions {
  private readonly pool: Pool;
  private readonly forms: readonly (FormMaker & { readonly form: VqaForm })[];

  /** Throws InputError where there are fewer than two emoji to ask about. */
  constructor(entries: readonly EmojiEntry[]) {
    this.pool = new Pool(entries);
    const { emoji, kinds, named } = this.pool;
    if (named.length < 2)
      throw new InputError(`Questions need pictures of at least two emoji, got those of ${named.length}.`);
    const tagged = emojiByTag(emoji);
    const groups = [...this.pool.byGroup].map(([answer, of]) => ({ answer, of }));
    const inGroup = groups
      .map(({ answer, of }) => ({ question: `which kind of ${answer} is this?`, choices: subgroupsOf(of) }))
      .filter(({ choices }) => choices.length > 1);
    const colours = choicesBy(COLOURS, emoji, colourOf);
    const directions = choicesBy(DIRECTIONS, emoji, directionOf);
    const forms: Record<VqaForm, FormMaker & { readonly possible: boolean }> = {
      label: { share: 0.26, size: 2, possible: true, make: (dice) => this.label(dice) },
      kind: { share: 0.18, size: 2, possible: kinds.length > 0, make: (dice) => this.kind(dice) },
      tag: { share: 0.16, size: 2, possible: tagged.size > 0, make: (dice) => this.tag(dice, tagged) },
      group: {
        share: 0.09,
        size: groups.length,
        possible: groups.length > 1,
        make: (dice) => oneOfEach('what sort of thing is this?', groups, dice),
      },
      subgroup: {
        share: 0.12,
        size: inGroup.reduce((sum, { choices }) => sum + choices.length, 0) / Math.max(1, inGroup.length),
        possible: inGroup.length > 0,
        make: (dice) => {
          const { question, choices } = dice.of(inGroup);
          return oneOfEach(question, choices, dice);
        },
      },
      'either label': { share: 0.09, size: 4, possible: true, make: (dice) => this.eitherLabel(dice) },
      'either kind': { share: 0.05, size: 4, possible: kinds.length > 1, make: (dice) => this.eitherKind(dice) },
      colour: {
        share: 0.03,
        size: colours.length,
        possible: colours.length > 1,
        make: (dice) => oneOfEach('what colour is this?', colours, dice),
      },
      direction: {
        share: 0.02,
        size: directions.length,
        possible: directions.length > 1,
        make: (dice) => oneOfEach('which way does this point?', directions, dice),
      },
    };
    this.forms = Object.entries(forms)
      .filter(([, { possible }]) => possible)
      .map(([form, maker]) => ({ form: form as VqaForm, ...maker }));
  }

  /**
   * `count` examples in random order (one fewer where `count` is odd and no odd block was drawn): whole blocks only, so
   * that every question text has its answers equally often. Equal states of the generator give equal examples.
   */
  draw(count: number, generator: Generator): EmojiVqaExample[] {
    const dice = new Dice(generator);
    const weights = this.forms.map(({ share, size }) => share / size);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const blocks: EmojiVqaExample[][] = [];
    let left = count;
    let misses = 0;
    while (left > 0) {
      if (left === 1) {
        // Only an odd block out makes room for pairs.
        const odd = blocks.findLastIndex((block) => block.length % 2 === 1);
        if (odd < 0) break;
        left += blocks.splice(odd, 1)[0].length;
      }
      let at = dice.next() * total;
      const { form, make } = this.forms.find((_, i) => (at -= weights[i]) < 0) ?? this.forms[0];
      const block = make(dice);
      if (block && block.length <= left) {
        blocks.push(block.map((example) => ({ ...example, form })));
        left -= block.length;
        misses = 0;
      } else if (++misses > 5000) {
        throw new InputError('The emoji are too few, or too much alike, to ask about them.');
      }
    }
    const examples = blocks.flat();
    return Array.from(generator.permutation(examples.length), (i) => examples[i]);
  }

  private label(dice: Dice): Block | undefined {
    const asked = dice.of(this.pool.named);
    const other = this.pool.other(dice, asked);
    return other && yesNo(`is this ${asked.name}?`, asked, other, dice);
  }

  private kind(dice: Dice): Block {
    const { noun, members, others } = dice.of(this.pool.kinds);
    return yesNo(`is this ${noun}?`, dice.of(members), dice.of(others), dice);
  }

  private tag(dice: Dice, tagged: ReadonlyMap<string, readonly PoolEmoji[]>): Block | undefined {
    const asked = dice.of(this.pool.emoji);
    const tags = asked.tags.filter((tag) => tagged.has(tag));
    if (tags.length === 0) return undefined;
    const tag = dice.of(tags);
    const words = wordsOf(tag);
    const other = this.pool.other(dice, asked);
    if (!other || words.some((word) => other.words.has(word))) return undefined;
    return yesNo(`does this have to do with ${tag}?`, dice.of(tagged.get(tag) as PoolEmoji[]), other, dice);
  }

  private eitherLabel(dice: Dice): Block | undefined {
    const one = dice.of(this.pool.named);
    const two = this.pool.other(dice, one);
    return two && either(one.name, two.name, one, two, dice);
  }

  private eitherKind(dice: Dice): Block | undefined {
    const one = dice.of(this.pool.kinds);
    const two = dice.of(this.pool.kinds);
    const a = dice.of(one.members);
    const b = dice.of(two.members);
    if (!one.others.includes(b) || !two.others.includes(a)) return undefined;
    return either(one.noun, two.noun, a, b, dice);
  }
}

/**
 * `count` examples of a split, one fewer where it is odd and small: each question text has each of its answers equally often.
 * Throws InputError where the emoji are too few to ask about.
 */
export function vqaExamples(
  entries: readonly EmojiEntry[],
  { seed, count }: { readonly seed: number; readonly count: number },
): EmojiVqaExample[] {
  return new EmojiQuestions(entries).draw(count, new Generator(seed));
}

function yesNo(question: string, yes: PoolEmoji, no: PoolEmoji, dice: Dice): Block {
  return [
    { entry: pictureOf(yes, dice), question, answer: YES, choices: 2 },
    { entry: pictureOf(no, dice), question, answer: NO, choices: 2 },
  ];
}

function either(first: string, second: string, one: PoolEmoji, two: PoolEmoji, dice: Dice): Block {
  return [
    [first, second],
    [second, first],
  ].flatMap(([a, b]) =>
    [one, two].map((emoji) => ({
      entry: pictureOf(emoji, dice),
      question: `is this ${a} or ${b}?`,
      answer: (a === first) === (emoji === one) ? FIRST : SECOND,
      choices: 2,
    })),
  );
}

interface Choice {
  readonly answer: string;
  readonly of: readonly PoolEmoji[];
}

function oneOfEach(question: string, choices: readonly Choice[], dice: Dice): Block {
  return choices.map(({ answer, of }) => ({
    entry: pictureOf(dice.of(of), dice),
    question,
    answer,
    choices: choices.length,
  }));
}

function choicesBy(
  answers: readonly string[],
  emoji: readonly PoolEmoji[],
  answerTo: (emoji: PoolEmoji) => string | undefined,
): Choice[] {
  return answers
    .map((answer) => ({ answer, of: emoji.filter((one) => answerTo(one) === answer) }))
    .filter(({ of }) => of.length > 0);
}

function subgroupsOf(emoji: readonly PoolEmoji[]): Choice[] {
  return choicesBy([...new Set(emoji.map((one) => one.subgroup))], emoji, (one) => one.subgroup);
}

/** The one colour that the label names. */
function colourOf({ label, labelWords }: PoolEmoji): string | undefined {
  const named = COLOURS.filter((colour) => labelWords.includes(colour));
  return named.length === 1 && !MISLEADING.test(label) ? named[0] : undefined;
}

/** The one direction that the label names, of emoji that point. */
function directionOf({ subgroup, labelWords }: PoolEmoji): string | undefined {
  if (!POINTERS.includes(subgroup) || NOT_POINTING.some((word) => labelWords.includes(word))) return undefined;
  const named = new Set(labelWords.flatMap((word) => POINTING.exec(word)?.[1] ?? []));
  return named.size === 1 ? [...named][0] : undefined;
}

/** Tags that two emoji or more have: one that a single emoji has would be its name. */
function emojiByTag(emoji: readonly PoolEmoji[]): Map<string, PoolEmoji[]> {
  const tagged = new Map<string, PoolEmoji[]>();
  for (const one of emoji) {
    for (const tag of one.tags) {
      const same = tagged.get(tag);
      if (same) same.push(one);
      else tagged.set(tag, [one]);
    }
  }
  return new Map([...tagged].filter(([, of]) => of.length > 1));
}

/** Seeded training batches of the emoji corpus: varied pictures of all styles but one, each with a text. */

import { InputError } from '../../core/errors.js';
import type { Generator } from '../../core/random.js';
import { frameTexts } from '../data/loader/collate.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { type Augmentation, augmentedPicture, EMOJI_AUGMENTATION, RANDOMS } from './augment.js';
import type { EmojiCorpus, EmojiEntry } from './corpus.js';
import { emojiTexts } from './text.js';

/** B pictures and B texts; row b of one belongs to row b of the other, and no emoji is there twice. */
export interface EmojiBatch {
  readonly size: number;
  /** float32 [B, 3, S, S], -1 to 1. */
  readonly images: Float32Array;
  /** int32 [B, T]: `<s>` text `</s>`, filled up to the longest. */
  readonly ids: Int32Array;
  /** [B, T], 1 = padding. */
  readonly padding: Uint8Array;
  readonly length: number;
}

export interface EmojiBatchOptions {
  /** The style that no batch ever shows; null trains on all. */
  readonly heldOut: string | null;
  /** Pictures in a batch; at most as many as there are emoji. */
  readonly size: number;
  readonly generator: Generator;
  readonly augmentation?: Augmentation | null;
  /** Share of the texts that are the plain label; the others are a tag, or the label and a tag. */
  readonly labels?: number;
}

/** Mirrored, these would be another emoji: symbols, flags, and whatever names a side or a direction. */
const DIRECTED_GROUPS = ['symbols', 'flags'];
const DIRECTED = /left|right|clockwise|east|west|back|next|last|forward|rewind|play/;

/** Whether a mirror image of the emoji shows the same emoji. */
export function isMirrorable({ group, label }: Pick<EmojiEntry, 'group' | 'label'>): boolean {
  return !DIRECTED_GROUPS.includes(group) && !DIRECTED.test(label);
}

const LABELS = 0.9;

interface Emoji {
  readonly entries: readonly EmojiEntry[];
  /** Token ids of the label and of the tags. */
  readonly texts: readonly (readonly number[])[];
  readonly mirrorable: boolean;
}

interface Pair {
  readonly emoji: Emoji;
  readonly text: readonly number[];
}

/** Tokens by which the lengths in a batch differ, more or less: it should not be only four-word names. */
const LENGTH_SPREAD = 2;

export class EmojiBatches {
  readonly #corpus: EmojiCorpus;
  readonly #tokenizer: Tokenizer;
  readonly #options: Required<EmojiBatchOptions>;
  readonly #emoji: readonly Emoji[];
  /** What is left of this round through the emoji. */
  #planned: Pair[][] = [];

  constructor(corpus: EmojiCorpus, tokenizer: Tokenizer, options: EmojiBatchOptions) {
    const { heldOut, size } = options;
    this.#corpus = corpus;
    this.#tokenizer = tokenizer;
    const { augmentation = EMOJI_AUGMENTATION, labels = LABELS } = options;
    this.#options = { ...options, augmentation, labels };
    // The only place where training pictures are chosen: the held-out style ends here.
    const groups = [...corpus.byEmoji().values()].map((all) => all.filter((entry) => entry.style !== heldOut));
    this.#emoji = groups.filter((entries) => entries.length > 0).map((entries) => this.#prepare(entries));
    if (!(Number.isInteger(size) && size >= 1 && size <= this.#emoji.length)) {
      throw new InputError(
        `A batch must have 1 to ${this.#emoji.length} pictures, one an emoji, and ${size} were asked for.`,
      );
    }
  }

  #prepare(entries: readonly EmojiEntry[]): Emoji {
    return {
      entries,
      texts: emojiTexts(entries[0]).map((text) => this.#tokenizer.encode(text).ids),
      mirrorable: isMirrorable(entries[0]),
    };
  }

  /** Emoji that can be drawn. */
  get emojiCount(): number {
    return this.#emoji.length;
  }

  /** The next batch, each picture in a random style. In a round through all batches no emoji comes twice. */
  next(): EmojiBatch {
    const { size, generator, augmentation } = this.#options;
    if (this.#planned.length === 0) this.#planned = this.#plan();
    const pairs = this.#planned.pop() as Pair[];
    const S = this.#corpus.size;
    const images = new Float32Array(size * 3 * S * S);
    const random = generator.uniform(size * RANDOMS);
    const styles = generator.uniform(size);
    pairs.forEach(({ emoji: { entries, mirrorable } }, b) => {
      const picture = this.#corpus.image(entries[Math.floor(styles[b] * entries.length)].image);
      const numbers = random.subarray(b * RANDOMS, (b + 1) * RANDOMS);
      augmentedPicture(picture, S, numbers, augmentation ?? STILL, mirrorable, images, b * 3 * S * S);
    });
    return { size, images, ...frameTexts(pairs.map(({ text }) => text)) };
  }

  /**
   * One round: a text for every emoji, and batches of texts of about the same length. In batches drawn at random,
   * most of what the model reads would be padding.
   */
  #plan(): Pair[][] {
    const { size, generator } = this.#options;
    const count = Math.floor(this.#emoji.length / size);
    const chosen = generator.permutation(this.#emoji.length).subarray(0, count * size);
    const random = generator.uniform(3 * chosen.length);
    const pairs = Array.from(chosen, (index, i) => {
      const emoji = this.#emoji[index];
      const text = this.#text(emoji.texts, random[3 * i], random[3 * i + 1]);
      return { emoji, text, place: text.length + LENGTH_SPREAD * random[3 * i + 2] };
    });
    pairs.sort((a, b) => a.place - b.place);
    return Array.from(generator.permutation(count), (k) => pairs.slice(k * size, (k + 1) * size));
  }

  /** The label, the label and a tag, or a tag alone. */
  #text(texts: Emoji['texts'], kind: number, tag: number): readonly number[] {
    const { labels } = this.#options;
    if (kind < labels || texts.length < 2) return texts[0];
    const other = texts[1 + Math.floor(tag * (texts.length - 1))];
    return kind < (1 + labels) / 2 ? [...texts[0], ...other] : other;
  }
}

/** No change at all. */
const STILL: Augmentation = {
  turn: 0,
  zoom: 0,
  stretch: 0,
  shear: 0,
  shift: 0,
  mirror: 0,
  saturation: 0,
  grey: 0,
  hue: 0,
  contrast: 0,
  brightness: 0,
};

/** What the joint model is trained on: the emoji corpus with its texts as token ids, ready to be drawn from. */

import type { Generator } from '../../../core/random.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';

/** A question about the picture of an entry. */
export interface JointQuestion {
  readonly entry: EmojiEntry;
  readonly ids: readonly number[];
  /** Number of the answer. */
  readonly answer: number;
}

/** A sentence about the pictures of two entries. */
export interface JointPair {
  readonly first: EmojiEntry;
  readonly second: EmojiEntry;
  readonly ids: readonly number[];
  readonly isTrue: boolean;
}

/** An emoji in all the styles that may be shown. */
export interface JointEmoji {
  readonly entries: readonly EmojiEntry[];
  /** Token ids of the label, then of the tags. */
  readonly texts: readonly (readonly number[])[];
  /** Number of its class; undefined for the few emoji of none. */
  readonly label: number | undefined;
}

export interface JointData {
  readonly corpus: EmojiCorpus;
  readonly emoji: readonly JointEmoji[];
  /**
   * Fresh questions and pairs, about as many as asked for; equal states of the generator give equal ones. `statements` is
   * the share of the questions `is this ...?` that are put as a sentence about two pictures, and of the pairs that are one
   * picture twice.
   */
  readonly drawQuestions: (count: number, generator: Generator, statements: number) => readonly JointQuestion[];
  readonly drawPairs: (count: number, generator: Generator, statements: number) => readonly JointPair[];
  /** How many answers there are. */
  readonly answers: number;
  readonly special: Pick<Tokenizer, 'startId' | 'endId' | 'padId' | 'maskId'>;
}

/** What the joint model is trained on: the emoji corpus with its texts as token ids, ready to be drawn from. */

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
  /** Number of its subgroup. */
  readonly label: number;
}

export interface JointData {
  readonly corpus: EmojiCorpus;
  readonly emoji: readonly JointEmoji[];
  readonly questions: readonly JointQuestion[];
  readonly pairs: readonly JointPair[];
  /** How many there are. */
  readonly classes: number;
  readonly answers: number;
  readonly special: {
    readonly startId: number;
    readonly endId: number;
    readonly padId: number;
    readonly maskId: number;
  };
}

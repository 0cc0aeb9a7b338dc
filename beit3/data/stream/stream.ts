/** Samples that come one after the other, without end, from data of any size. */
import type { PictureSource, Tokens } from '../dataSet.js';

/** Anything whose place can be saved as plain JSON and taken up again. */
export interface Resumable {
  /** Where it stands; what was given out already counts as used. */
  position(): unknown;
  /** Goes to a place that `position` gave; throws InputError for anything else. */
  restore(position: unknown): Promise<void>;
}

/**
 * A stream of samples, epoch after epoch. The samples after a restored position are those that would have come next;
 * broken ones are passed over, counted and named.
 */
export interface SampleStream<S> extends Resumable {
  next(): Promise<S>;
  /** Epochs that were begun so far, from 0. */
  readonly epoch: number;
  /** Samples that were passed over because they are broken. */
  readonly skippedCount: number;
  close(): Promise<void>;
}

/** A picture by itself. */
export interface ImageSample {
  readonly picture: PictureSource;
  /** Where it comes from, for messages: `shards/00003.tar: 000030007.jpg`. */
  readonly where: string;
}

/** A stretch of text, packed or cut to the length of the stream, without `<s>` and `</s>`. */
export interface TextSample {
  readonly tokens: Tokens;
  readonly where: string;
}

/** A picture and what is said of it. */
export interface PairSample extends ImageSample, TextSample {}

/** The words of the emoji corpus, and a tokenizer trained on them: text with no download. */

import { type TrainedUnigram, trainUnigram } from '../tokenizer/train.js';
import type { EmojiEntry } from './join.js';

/**
 * Text as the tokenizer of the corpus was trained on it: compatibility forms and accents unified (NFKC), lower case,
 * curly quotes straight, single spaces. Queries go through the same.
 */
export function cleanText(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/\s+/g, ' ')
    .trim();
}

/** All the texts that describe an emoji, cleaned: its label first, then its tags, without repetitions. */
export function emojiTexts(entry: Pick<EmojiEntry, 'label' | 'tags'>): string[] {
  return [...new Set([entry.label, ...entry.tags].map(cleanText))].filter((text) => text !== '');
}

/**
 * Trains a unigram tokenizer on the labels and tags of the entries, each emoji counted once however many styles draw
 * it. Takes a second or two; the same entries give the same bytes.
 */
export function trainEmojiTokenizer(
  entries: readonly EmojiEntry[],
  options: { vocabularySize?: number } = {},
): TrainedUnigram {
  const distinct = new Map(entries.map((entry) => [entry.hexcode, entry]));
  const texts = [...distinct.values()].flatMap(emojiTexts);
  return trainUnigram(texts, { vocabularySize: options.vocabularySize ?? 1500 });
}

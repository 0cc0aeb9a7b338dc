/** A tokenizer for the benchmark, of texts of training alone. */

import { Generator } from '../../../core/random.js';
import { type TrainedUnigram, trainUnigram } from '../../tokenizer/train.js';
import { emojiTexts } from '../text.js';
import { EmojiSentences } from './nlvr2.js';
import { groupBy } from './pool.js';
import type { EmojiBenchmark } from './splits.js';
import { EmojiQuestions } from './vqa.js';

/** Questions, and sentences, that it sees beside the labels and tags. */
const DRAWN_TEXTS = 2000;

/** The texts that a tokenizer is trained on: labels and tags of the trained emoji, and some questions and sentences. */
export function trainingTexts({ train }: Pick<EmojiBenchmark, 'train'>): string[] {
  return [
    ...[...groupBy(train, (entry) => entry.hexcode).values()].flatMap(([entry]) => emojiTexts(entry)),
    ...new EmojiQuestions(train).draw(DRAWN_TEXTS, new Generator(0)).map(({ question }) => question),
    ...new EmojiSentences(train).draw(DRAWN_TEXTS, new Generator(0)).map(({ sentence }) => sentence),
  ];
}

/** Takes a second or two; the same benchmark gives the same bytes. Capital letters count as small ones. */
export function trainBenchmarkTokenizer(
  benchmark: Pick<EmojiBenchmark, 'train'>,
  { vocabularySize = 1500 }: { readonly vocabularySize?: number } = {},
): TrainedUnigram {
  return trainUnigram(trainingTexts(benchmark), { vocabularySize, foldCase: true });
}

/** The emoji benchmark as the joint model takes it: tokenizer, training data and the parts that are measured. */

import { Generator } from '../../../core/random.js';
import { parseConfig } from '../../config.js';
import { Tokenizer } from '../../tokenizer/index.js';
import { trainUnigram } from '../../tokenizer/train.js';
import {
  type EmojiBenchmarkOptions,
  type EmojiNlvr2Example,
  EmojiQuestions,
  EmojiSentences,
  type EmojiVqaExample,
  emojiBenchmark,
  nlvr2Examples,
  vqaExamples,
} from '../benchmark/index.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import { emojiTexts } from '../text.js';
import { emojiModelSpec } from '../train.js';
import type { JointData, JointPair, JointQuestion } from './data.js';
import type { JointSplit } from './evaluate.js';
import type { JointSpec } from './model.js';
import { RECIPE } from './recipe.js';

export interface PreparedBenchmark {
  readonly tokenizer: Tokenizer;
  /** Its file. */
  readonly spm: Uint8Array;
  readonly classes: readonly string[];
  readonly classOf: (entry: EmojiEntry) => number | undefined;
  readonly answers: readonly string[];
  readonly data: JointData;
  readonly splits: ReadonlyMap<MeasuredSplit, JointSplit>;
}

/** The parts that are measured: the unseen style, emoji that were never seen in it, single pictures of known styles. */
const MEASURED = ['test', 'zeroShot', 'val'] as const;
export type MeasuredSplit = (typeof MEASURED)[number];

/** Questions, and sentences, that the tokenizer sees, and that each part is measured with. */
const TOKENIZER_TEXTS = 2000;
const MEASURED_EXAMPLES = 2000;
/** Not those of training. */
const MEASURED_SEED = 1;

/** Prepares a corpus. The tokenizer sees texts of the training part only; equal corpora give equal bytes. */
export function prepareBenchmark(
  corpus: EmojiCorpus,
  vocabularySize: number,
  options: EmojiBenchmarkOptions = {},
): PreparedBenchmark {
  const benchmark = emojiBenchmark(corpus, options);
  const { train, classes, classOf, answers, answerOf } = benchmark;
  const questions = new EmojiQuestions(train);
  const sentences = new EmojiSentences(train);

  const byHexcode = new Map<string, EmojiEntry[]>();
  for (const entry of train) {
    const same = byHexcode.get(entry.hexcode);
    if (same) same.push(entry);
    else byHexcode.set(entry.hexcode, [entry]);
  }
  const emoji = [...byHexcode.values()];
  const texts = [
    ...emoji.flatMap(([entry]) => emojiTexts(entry)),
    ...questions.draw(TOKENIZER_TEXTS, new Generator(0)).map(({ question }) => question),
    ...sentences.draw(TOKENIZER_TEXTS, new Generator(0)).map(({ sentence }) => sentence),
  ];
  const spm = trainUnigram(texts, { vocabularySize, foldCase: true }).bytes;
  const tokenizer = Tokenizer.fromBytes(spm);
  const idsOf = (text: string): number[] => tokenizer.encode(text).ids;
  const question = ({ entry, question, answer }: EmojiVqaExample): JointQuestion => ({
    entry,
    ids: idsOf(question),
    answer: answerOf(answer),
  });
  const pair = ({ left, right, sentence, label }: EmojiNlvr2Example): JointPair => ({
    first: left,
    second: right,
    ids: idsOf(sentence),
    isTrue: label,
  });

  const data: JointData = {
    corpus,
    emoji: emoji.map((entries) => ({
      entries,
      texts: emojiTexts(entries[0]).map(idsOf),
      label: classOf(entries[0]),
    })),
    drawQuestions: (count, generator) => questions.draw(count, generator).map(question),
    drawPairs: (count, generator) => sentences.draw(count, generator).map(pair),
    answers: answers.length,
    special: tokenizer,
  };
  const examples = { seed: MEASURED_SEED, count: MEASURED_EXAMPLES };
  const splits = new Map(
    MEASURED.map((name): [MeasuredSplit, JointSplit] => {
      const entries = benchmark[name];
      return [
        name,
        {
          entries,
          questions: vqaExamples(entries, examples).map(question),
          pairs: nlvr2Examples(entries, { ...examples, split: name }).map(pair),
        },
      ];
    }),
  );
  return { tokenizer, spm, classes, classOf, answers, data, splits };
}

/** The shipped model's sizes, with as many classes and answers as the benchmark has. */
export function specOfRecipe({
  tokenizer,
  classes,
  answers,
}: Pick<PreparedBenchmark, 'tokenizer' | 'classes' | 'answers'>): JointSpec {
  const { width, layers, size, patch } = RECIPE;
  const { config } = emojiModelSpec({ width, layers, size, patch, vocabulary: tokenizer.vocabularySize });
  // One encoder for all tasks: also for those whose official models end without a LayerNorm.
  const joint = parseConfig({ normalize_output: true }, 'The recipe', config);
  return { config: joint, classes: classes.length, answers: answers.length };
}

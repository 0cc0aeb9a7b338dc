/** The emoji corpus as a benchmark of five tasks: splits, classes, questions, sentences. Pure and in memory. */

export { type EmojiNlvr2Example, EmojiSentences, type Nlvr2Form, nlvr2Examples } from './nlvr2.js';
export {
  EMOJI_SPLITS,
  type EmojiBenchmark,
  type EmojiBenchmarkOptions,
  type EmojiSplit,
  type EmojiSplits,
  emojiBenchmark,
} from './splits.js';
export { EmojiQuestions, type EmojiVqaExample, type VqaForm, vqaExamples } from './vqa.js';

/** The emoji corpus as a benchmark of five tasks: splits, classes, questions, sentences. Pure and in memory. */

export {
  type Chance,
  chance,
  type EvaluationSet,
  evaluationSet,
  MEASURED_EXAMPLES,
  MEASURED_SPLITS,
  type MeasuredSplit,
} from './evaluation.js';
export { type EmojiNlvr2Example, EmojiSentences, type Nlvr2Form, nlvr2Examples } from './nlvr2.js';
export {
  EMOJI_SPLITS,
  type EmojiBenchmark,
  type EmojiBenchmarkOptions,
  type EmojiSplit,
  type EmojiSplits,
  emojiBenchmark,
} from './splits.js';
export { trainBenchmarkTokenizer, trainingTexts } from './tokenizer.js';
export { EmojiQuestions, type EmojiVqaExample, type VqaForm, vqaExamples } from './vqa.js';

/** What BEiT-3's tasks are judged by. */
export { topKAccuracy, topKHits } from './accuracy.js';
export { normalizeAnswer } from './answers.js';
export { type CaptionMetricsOptions, type CaptionScores, captionMetrics } from './captioning.js';
export { type Nlvr2Scores, nlvr2Scores } from './nlvr2.js';
export { ptbTokenize } from './ptbTokenizer.js';
export { type RecallInput, type RetrievalRecall, rankOfBest, recallOfRanks, retrievalRecall } from './retrieval.js';
export { captionSubmission, vqaSubmission } from './submissions.js';
export { vqaScore } from './vqa.js';
export {
  type AnnotatedQuestion,
  annotatorAccuracy,
  answerScore,
  readVqaAnnotations,
  softLabels,
  type VqaAccuracy,
  vqaAnnotatorAccuracy,
} from './vqaAnnotators.js';

/** What models are trained on and tested with: B samples of a task as plain arrays, ready to become tensors. */

import type { Task } from '../config.js';

/** B pictures. */
export interface ImageBatch {
  /** B. */
  readonly size: number;
  /** S. */
  readonly side: number;
  /** float32 [B, 3, S, S], normalised. */
  readonly images: Float32Array;
  /** The file of each picture (of both, for pairs), for messages. */
  readonly files: readonly string[];
}

/** B texts: `<s>` text `</s>`, filled up to the longest of the batch. */
export interface TextBatch {
  /** int32 [B, T]. */
  readonly ids: Int32Array;
  /** [B, T], 1 = padding. */
  readonly padding: Uint8Array;
  /** T. */
  readonly length: number;
}

export interface ClassificationBatch extends ImageBatch {
  /** int32 [B]. */
  readonly labels: Int32Array;
  /** float32 [B, classes] where mixup or cutmix has mixed pictures; null where `labels` hold. */
  readonly targets: Float32Array | null;
}

export interface VqaBatch extends ImageBatch, TextBatch {
  /** float32 [B, answers], the score of each answer; null in a test split without answers. */
  readonly scores: Float32Array | null;
  readonly questionIds: readonly number[];
}

export interface Nlvr2Batch extends ImageBatch, TextBatch {
  /** The second pictures, float32 [B, 3, S, S]. */
  readonly images2: Float32Array;
  /** int32 [B], 1 = the sentence is true. */
  readonly labels: Int32Array;
  readonly identifiers: readonly string[];
}

export interface RetrievalBatch extends ImageBatch, TextBatch {
  readonly imageIds: readonly number[];
}

export interface CaptioningBatch extends ImageBatch, TextBatch {
  /** int32 [B, T]: `ids` with words masked. In evaluation, where captions are to be written, T is 0. */
  readonly masked: Int32Array;
  /** int32 [N]: where words are to be predicted, b * T + t, ascending. */
  readonly predict: Int32Array;
  /** int32 [N]: the words that stood there. */
  readonly targets: Int32Array;
  readonly imageIds: readonly number[];
}

/** Task -> its batches. */
export interface TaskBatches {
  readonly imageclassification: ClassificationBatch;
  readonly vqav2: VqaBatch;
  readonly nlvr2: Nlvr2Batch;
  readonly captioning: CaptioningBatch;
  readonly retrieval: RetrievalBatch;
}

export type AnyBatch = TaskBatches[Task];

import { InputError } from '../../core/errors.js';
import type { Task } from '../config.js';
import type { TaskBatches } from '../data/batch.js';
import type { TaskModels } from '../heads/index.js';
import type { AnnotatedQuestion } from '../metrics/index.js';
import type { Tokenizer } from '../tokenizer/index.js';

/** How a model is evaluated. */
export interface EvaluateOptions {
  /** Called after each batch with the number of samples so far. */
  readonly onProgress?: (samples: number) => void;
  /** Ends the evaluation between two batches: its reason is thrown. */
  readonly signal?: AbortSignal;
  /** VQA: the words of each answer, by number, for the predictions; without them there are none. */
  readonly answers?: readonly string[];
  /** VQA: what people answered; with it accuracy is counted by the ten-annotator protocol too. Needs `answers`. */
  readonly annotations?: readonly AnnotatedQuestion[];
  /** Captioning: the tokenizer of the model; required there. */
  readonly tokenizer?: Tokenizer;
  /** Captioning: what people wrote, by the picture's id; without it captions are written but not compared. */
  readonly references?: ReadonlyMap<number, readonly string[]>;
  /** Captioning: hypotheses kept at a time; default 3. */
  readonly numBeams?: number;
  /** Captioning: tokens at most, <s> and </s> included; default 64, or what the model takes if that is less. */
  readonly maxLength?: number;
  /** Captioning: larger favours longer captions; default 0.6. */
  readonly lengthPenalty?: number;
}

/** What came of an evaluation. */
export interface EvaluationReport {
  /**
   * By the names of the reference, all in per cent (so CIDEr 133.6 is what pycocoevalcap calls 1.336): `acc1` and `acc5`;
   * `score`, and with annotations `overall` and one for each type of answer; `acc` and `consistency`; `tr_r1` to
   * `average_score`; `Bleu_1` to `Bleu_4`, `ROUGE_L`, `CIDEr` and `exact_match`.
   */
  readonly metrics: Readonly<Record<string, number>>;
  /** The metric by which the reference chooses models; null where nothing could be compared. */
  readonly key: string | null;
  /** Pictures, questions, pairs or texts that were evaluated. */
  readonly samples: number;
  /** VQA: answers by question; captioning: captions by picture. Null for other tasks. */
  readonly predictions: readonly (readonly [id: number, text: string])[] | null;
  /** What the numbers leave out, in sentences. */
  readonly notes: readonly string[];
}

/** Evaluates one task: the model is in evaluation mode, and the batches are watched. */
export type Evaluator<T extends Task> = (
  model: TaskModels[T],
  batches: AsyncIterable<TaskBatches[T]>,
  options: EvaluateOptions,
) => Promise<EvaluationReport>;

/** Throws InputError when no batch came. */
export function expectSamples(samples: number, what: string): void {
  if (samples === 0) throw new InputError(`There are no ${what} to evaluate; give a data set with at least one.`);
}

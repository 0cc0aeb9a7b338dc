/** Evaluation of each task by its official protocol. */
import type { Module } from '../../nn/module.js';
import type { Task } from '../config.js';
import type { TaskBatches } from '../data/batch.js';
import type { TaskModels } from '../heads/index.js';
import { evaluateCaptioning } from './captioning.js';
import { evaluateClassification } from './imageclassification.js';
import { evaluateNlvr2 } from './nlvr2.js';
import type { EvaluateOptions, EvaluationReport, Evaluator } from './report.js';
import { evaluateRetrieval } from './retrieval.js';
import { evaluateVqa } from './vqav2.js';

export type { EvaluateOptions, EvaluationReport } from './report.js';

const EVALUATORS: { readonly [T in Task]: Evaluator<T> } = {
  imageclassification: evaluateClassification,
  vqav2: evaluateVqa,
  nlvr2: evaluateNlvr2,
  captioning: evaluateCaptioning,
  retrieval: evaluateRetrieval,
};

/**
 * Evaluates a model on batches of its task, as a loader in evaluation mode or anything else makes them. The model is in
 * evaluation mode meanwhile and afterwards in the mode in which it was; nothing is recorded for gradients, and what a
 * batch takes is freed before the next. Batches may be of any sizes: the numbers do not depend on them.
 *
 * Throws InputError for no batches, for what the task needs and is not given, for a list of answers of another length
 * than the model's, for pictures without references, and when the model puts out numbers that are not finite.
 */
export async function evaluate<T extends Task>(
  task: T,
  model: TaskModels[T] & Module,
  batches: AsyncIterable<TaskBatches[T]> | Iterable<TaskBatches[T]>,
  options: EvaluateOptions = {},
): Promise<EvaluationReport> {
  const isTraining = model.training;
  model.eval();
  try {
    return await EVALUATORS[task](model, watched(batches, options), options);
  } finally {
    model.train(isTraining);
  }
}

async function* watched<B extends { readonly size: number }>(
  batches: AsyncIterable<B> | Iterable<B>,
  { signal, onProgress }: EvaluateOptions,
): AsyncGenerator<B> {
  let samples = 0;
  signal?.throwIfAborted();
  for await (const batch of batches) {
    yield batch;
    samples += batch.size;
    onProgress?.(samples);
    signal?.throwIfAborted();
  }
}

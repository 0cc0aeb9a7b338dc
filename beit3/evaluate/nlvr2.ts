import { InputError } from '../../core/errors.js';
import { nlvr2Scores } from '../metrics/index.js';
import { valuesOf } from '../pipeline/session.js';
import { backendOf } from '../tasks/inputs.js';
import { nlvr2Logits } from '../tasks/nlvr2.js';
import { type Evaluator, expectSamples } from './report.js';

/** Accuracy, and consistency over the pairs that share a sentence. */
export const evaluateNlvr2: Evaluator<'nlvr2'> = async (model, batches) => {
  const backend = backendOf(model);
  const predictions = new Map<string, boolean>();
  const labels = new Map<string, boolean>();
  let samples = 0;
  let right = 0;
  for await (const batch of batches) {
    const logits = await valuesOf(backend, () => nlvr2Logits(model, batch));
    for (const [b, identifier] of batch.identifiers.entries()) {
      const judgement = logits[2 * b + 1] > logits[2 * b];
      const label = batch.labels[b] === 1;
      if (judgement === label) right++;
      predictions.set(identifier, judgement);
      labels.set(identifier, label);
    }
    samples += batch.size;
  }
  expectSamples(samples, 'pairs of pictures');
  const metrics: Record<string, number> = { acc: (100 * right) / samples };
  const notes: string[] = [];
  try {
    metrics.consistency = nlvr2Scores(predictions, labels).consistency;
  } catch (error) {
    // Only the official identifiers tell which pairs share a sentence.
    if (!(error instanceof InputError)) throw error;
    notes.push(`There is no consistency: ${error.message}`);
  }
  return { metrics, key: 'acc', samples, predictions: null, notes };
};

import { topKHits } from '../metrics/index.js';
import { valuesOf } from '../pipeline/session.js';
import { classificationLogits } from '../tasks/imageclassification.js';
import { backendOf } from '../tasks/inputs.js';
import { type Evaluator, expectSamples } from './report.js';

/** Accuracy at 1 and 5. */
export const evaluateClassification: Evaluator<'imageclassification'> = async (model, batches) => {
  const backend = backendOf(model);
  let samples = 0;
  const hits = [0, 0];
  for await (const batch of batches) {
    const logits = await valuesOf(backend, () => classificationLogits(model, batch));
    topKHits(logits, batch.labels, logits.length / batch.size).forEach((count, k) => {
      hits[k] += count;
    });
    samples += batch.size;
  }
  expectSamples(samples, 'pictures');
  const [acc1, acc5] = hits.map((count) => (100 * count) / samples);
  return { metrics: { acc1, acc5 }, key: 'acc1', samples, predictions: null, notes: [] };
};

import type { Backend } from '../../core/backend.js';
import { keep } from '../../core/memory.js';
import { matmul, transpose } from '../../core/ops/index.js';
import { tensor } from '../../core/tensor.js';
import { rankOfBest, recallOfRanks } from '../metrics/index.js';
import { valuesOf } from '../pipeline/session.js';
import { backendOf, imagesOf } from '../tasks/inputs.js';
import { textFeatures } from '../tasks/retrieval.js';
import { type Evaluator, expectSamples } from './report.js';
import { firstOfEach, picturesAt } from './rows.js';

/** Similarities at a time: COCO's 5,000 pictures and 25,000 texts have 125 million. */
const BLOCK = 1 << 22;

/** Recall at 1, 5 and 10 in both directions. Each picture is read once, however many texts it has. */
export const evaluateRetrieval: Evaluator<'retrieval'> = async (model, batches) => {
  const backend = backendOf(model);
  const pictures = new Map<number, Float32Array>();
  const textIds: number[] = [];
  const texts: Float32Array[] = [];
  let D = 0;
  for await (const batch of batches) {
    const rows = firstOfEach(batch.imageIds, pictures);
    if (rows.length > 0) {
      const read = await valuesOf(backend, () => model.embedImage(imagesOf(picturesAt(batch, rows), backend)));
      D = read.length / rows.length;
      for (const [i, row] of rows.entries()) pictures.set(batch.imageIds[row], read.subarray(i * D, (i + 1) * D));
    }
    texts.push(await valuesOf(backend, () => textFeatures(model, batch)));
    textIds.push(...batch.imageIds);
  }
  expectSamples(textIds.length, 'texts');
  // In the order of their ids, as the reference has them: of equal similarities the earlier counts.
  const imageIds = [...pictures.keys()].sort((a, b) => a - b);
  const ofImages = joined(imageIds.map((id) => pictures.get(id) as Float32Array));
  const ofTexts = joined(texts);
  const recall = recallOfRanks(
    await ranks(backend, D, ofImages, imageIds, ofTexts, textIds),
    await ranks(backend, D, ofTexts, textIds, ofImages, imageIds),
  );
  return { metrics: { ...recall }, key: 'average_score', samples: textIds.length, predictions: null, notes: [] };
};

/** The rank of the best right candidate of each query; features are [queries, D] and [candidates, D]. */
async function ranks(
  backend: Backend,
  D: number,
  queries: Float32Array,
  queryIds: readonly number[],
  candidates: Float32Array,
  candidateIds: readonly number[],
): Promise<number[]> {
  const count = candidateIds.length;
  const rows = Math.max(1, Math.floor(BLOCK / count));
  const right = keep(tensor(candidates, { shape: [count, D], backend }));
  const found: number[] = [];
  try {
    for (let from = 0; from < queryIds.length; from += rows) {
      const ids = queryIds.slice(from, from + rows);
      const block = queries.subarray(from * D, (from + ids.length) * D);
      const scores = await valuesOf(backend, () =>
        matmul(tensor(block, { shape: [ids.length, D], backend }), transpose(right, 0, 1)),
      );
      for (const [q, id] of ids.entries())
        found.push(rankOfBest(scores.subarray(q * count, (q + 1) * count), id, candidateIds));
    }
  } finally {
    right.dispose();
  }
  return found;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

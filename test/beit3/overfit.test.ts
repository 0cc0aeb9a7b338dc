import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { TASKS, type Task } from '../../beit3/config.js';
import { trainingLoss } from '../../beit3/tasks/index.js';
import { scope } from '../../core/memory.js';
import { AdamW } from '../../nn/optim.js';
import { CLASSES, tinyBatch, tinyModel } from './tinyBatches.js';

const SAMPLES = 16;
const STEPS = 200;

/** The losses of STEPS training steps on one batch, and the accuracy of the last. */
async function learn<T extends Task>(task: T): Promise<{ first: number; last: number; accuracy: number | undefined }> {
  const model = tinyModel(task);
  const batch = tinyBatch(task, SAMPLES);
  const optimiser = new AdamW(model.namedParameters(), { lr: 3e-3 });
  let first = Number.NaN;
  let last = Number.NaN;
  let accuracy: number | undefined;
  for (let step = 0; step < STEPS; step++) {
    const made = scope(() => {
      const { loss, metrics } = trainingLoss(task, model, batch, { labelSmoothing: 0, step });
      backward(loss);
      optimiser.step({ maxNorm: 1 });
      optimiser.zeroGrad();
      return { loss: loss.detach(), acc: metrics.acc };
    });
    if (step === 0) first = await made.loss.item();
    if (step === STEPS - 1) {
      last = await made.loss.item();
      accuracy = await made.acc?.item();
    }
    made.loss.dispose();
    made.acc?.dispose();
  }
  optimiser.dispose();
  model.dispose();
  return { first, last, accuracy };
}

/** What remains of the loss when everything is known: the entropy of the scores. */
function floor(task: Task): number {
  if (task !== 'vqav2') return 0;
  const { scores } = tinyBatch('vqav2', SAMPLES);
  const entropy = (p: number) => (p <= 0 || p >= 1 ? 0 : -p * Math.log(p) - (1 - p) * Math.log(1 - p));
  return (scores as Float32Array).reduce((sum, p) => sum + entropy(p), 0) / SAMPLES;
}

describe('sixteen samples are learnt by heart', () => {
  after(() => disposeBackend('wasm'));
  for (const task of TASKS) {
    it(task, async () => {
      const backend = await useBackend('wasm', { threads: 1 });
      const before = backend.stats.liveBytes;
      const { first, last, accuracy } = await learn(task);
      const excess = last - floor(task);
      const chance = Math.log(CLASSES[task] || SAMPLES);
      assert.ok(first > 0.6 * chance, `it starts at ${first}`);
      assert.ok(excess > -1e-4 && excess < 0.02, `the loss went from ${first} to ${excess} above its floor`);
      assert.equal(accuracy, task === 'vqav2' || task === 'retrieval' ? undefined : 1);
      assert.equal(backend.stats.liveBytes, before);
    });
  }
});

/** Training on the GPU: the same losses as on the CPU, and memory that does not grow. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { TASKS, type Task } from '../../beit3/config.js';
import { PretrainTask } from '../../beit3/pretrain/task.js';
import { trainingLoss } from '../../beit3/tasks/index.js';
import { scope } from '../../core/memory.js';
import { manualSeed } from '../../core/random.js';
import { AdamW } from '../../nn/optim.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';
import { batchOf, NO_DATA, noiseTokenizer, smallPretraining } from './pretrainBatches.js';
import { tinyBatch, tinyModel } from './tinyBatches.js';

/** Steps of each task; two of them, a pair's and a text's loss, go the whole way. */
const STEPS: Record<Task, number> = { imageclassification: 12, vqav2: 50, nlvr2: 12, captioning: 50, retrieval: 12 };
const found = await gpuOrReason();

/** The losses of some steps of fine-tuning with dropped layers and clipping, each on a batch of its own. */
async function losses(task: Task, device: 'wasm' | 'webgpu'): Promise<number[]> {
  const backend = await useBackend(device, { threads: 2, adapter: ADAPTER });
  const before = backend.stats.liveBytes;
  manualSeed(7);
  const model = tinyModel(task, { drop_path_rate: 0.2 });
  model.train();
  const batches = Array.from({ length: 5 }, (_, i) => tinyBatch(task, 8, 10 + i));
  const optimiser = new AdamW(model.namedParameters(), { lr: 1e-3, weightDecay: 0.05 });
  const out: number[] = [];
  let peak = 0;
  for (let step = 0; step < STEPS[task]; step++) {
    const loss = scope(() => {
      const made = trainingLoss(task, model, batches[step % batches.length], { labelSmoothing: 0.1, step });
      backward(made.loss);
      optimiser.step({ maxNorm: 1 });
      optimiser.zeroGrad();
      return made.loss.detach();
    });
    out.push(await loss.item());
    loss.dispose();
    if (step === 2 * batches.length) peak = backend.stats.peakBytes;
  }
  assert.equal(backend.stats.peakBytes, peak, 'more memory was needed in later steps');
  optimiser.dispose();
  model.dispose();
  assert.equal(backend.stats.liveBytes, before);
  return out;
}

/** The numbers of some steps of pretraining on all three kinds of data. */
async function pretrainingSteps(device: 'wasm' | 'webgpu'): Promise<Readonly<Record<string, number>>[]> {
  const backend = await useBackend(device, { threads: 2, adapter: ADAPTER });
  const before = backend.stats.liveBytes;
  manualSeed(7);
  const tokenizer = noiseTokenizer();
  const model = smallPretraining({ drop_path_rate: 0.2, vl_expert_layers: 1 });
  const task = new PretrainTask(model, tokenizer, NO_DATA, { clipGrad: 1 });
  const out: Readonly<Record<string, number>>[] = [];
  for (let step = 0; step < 6; step++) out.push(await task.step([batchOf(1 + (step % 2))], step, 2e-3));
  for (const one of [task, model, tokenizer]) one.dispose();
  assert.equal(backend.stats.liveBytes, before);
  return out;
}

describe('training on the GPU', { skip: typeof found === 'string' ? found : false }, () => {
  after(() => Promise.all(['wasm', 'webgpu'].map(disposeBackend)));
  for (const task of TASKS) {
    it(`${task} follows the CPU for ${STEPS[task]} steps`, async () => {
      const wanted = await losses(task, 'wasm');
      const got = await losses(task, 'webgpu');
      const worst = Math.max(...got.map((loss, i) => Math.abs(loss - wanted[i])));
      assert.ok(worst <= 1e-3, `the losses differ by ${worst}:\n${wanted}\n${got}`);
      assert.ok(Math.min(...wanted.slice(-5)) < wanted[0], 'nothing was learnt');
    });
  }

  it('pretraining follows the CPU, loss by loss', async () => {
    const [wanted, got] = [await pretrainingSteps('wasm'), await pretrainingSteps('webgpu')];
    for (const [step, numbers] of wanted.entries())
      for (const name of ['image', 'text', 'pairImage', 'pairText', 'gradNorm'])
        assert.ok(Math.abs(got[step][name] - numbers[name]) < 2e-3, `${name} of step ${step}: ${got[step][name]}`);
    assert.ok(wanted[5].loss < wanted[1].loss, 'nothing was learnt');
  });
});

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { makeFilled } from '../../beit3/checkpoint.js';
import type { Task } from '../../beit3/config.js';
import type { TaskBatches } from '../../beit3/data/batch.js';
import { createModel, type TaskModels } from '../../beit3/heads/index.js';
import { inferConfig } from '../../beit3/infer.js';
import { Dump } from '../../beit3/parity/dump.js';
import { type TrainingLossOptions, trainingLoss } from '../../beit3/tasks/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import type { Module } from '../../nn/module.js';
import { assertClose } from '../support/compare.js';
import { fixture } from '../support/fixtures.js';
import { TINY, tinyBatch, tinyModel } from './tinyBatches.js';

type AnyModel<T extends Task> = TaskModels[T] & Module;

/** The inputs of a dump of the reference as a batch of its task. */
async function batchOf(dump: Dump, task: Task): Promise<TaskBatches[Task]> {
  const floats = async (name: string) => (await dump.values(`input/${name}`)).values as Float32Array;
  const integers = async (name: string) => (await dump.values(`input/${name}`)).values as Int32Array;
  const [size, , side] = (await dump.values('input/image')).shape;
  const pictures = { size, side, images: await floats('image'), files: [] };
  if (task === 'imageclassification') {
    const isMixed = dump.has('input/soft_label');
    return {
      ...pictures,
      labels: isMixed ? new Int32Array(size) : await integers('label'),
      targets: isMixed ? await floats('soft_label') : null,
    };
  }
  const ids = await integers('text_tokens');
  const texts = { ids, length: ids.length / size, padding: Uint8Array.from(await integers('padding_mask')) };
  const imageIds = Array.from({ length: size }, (_, i) => i);
  switch (task) {
    case 'vqav2':
      return { ...pictures, ...texts, scores: await floats('labels'), questionIds: imageIds };
    case 'nlvr2':
      return {
        ...pictures,
        ...texts,
        images2: await floats('image2'),
        labels: await integers('label'),
        identifiers: imageIds.map(String),
      };
    case 'retrieval':
      return { ...pictures, ...texts, imageIds };
    default: {
      const masked = await integers('language_masked_pos');
      const own = await integers('language_tokens');
      const predict = Int32Array.from([...masked.keys()].filter((i) => masked[i] !== 0));
      const targets = Int32Array.from(predict, (i) => own[i]);
      return { ...pictures, ...texts, ids: own, masked: ids, predict, targets, imageIds };
    }
  }
}

async function withDump(name: string, backend: Backend, use: (dump: Dump, model: AnyModel<Task>) => Promise<void>) {
  const dump = await Dump.open(fixture(`parity/${name}.safetensors`), backend);
  try {
    const json = dump.json('config');
    const task = dump.task as Task;
    const config = inferConfig(dump.group('state/'), dump.file, { config: json });
    const spec = { task, config, numClasses: Number(json.num_classes ?? 0) };
    const { model } = await makeFilled((b) => createModel(b, spec) as AnyModel<Task>, dump.group('state/'), dump.file, {
      backend,
    });
    try {
      await use(dump, model);
    } finally {
      model.dispose();
    }
  } finally {
    await dump.close();
  }
}

/** A task whose name the compiler does not know needs its model and batch as one of all. */
const lossOf = trainingLoss as (
  task: Task,
  model: TaskModels[Task],
  batch: TaskBatches[Task],
  options?: TrainingLossOptions,
) => ReturnType<typeof trainingLoss>;

describe('training losses', () => {
  after(() => disposeBackend('wasm'));

  for (const name of [
    'imageclassification',
    'imageclassification_mixup',
    'vqav2',
    'nlvr2',
    'captioning',
    'retrieval',
  ]) {
    it(`${name}: loss and gradients are those of PyTorch`, async () => {
      const backend = await useBackend('wasm', { threads: 2 });
      const before = backend.stats.liveBytes;
      await withDump(name, backend, async (dump, model) => {
        const batch = await batchOf(dump, dump.task as Task);
        const options = {
          labelSmoothing: dump.number('label_smoothing', 0),
          dropWorstRatio: dump.number('drop_worst_ratio', 0),
          dropWorstAfter: dump.number('drop_worst_after', 0),
        };
        const at = (step: number) =>
          scope(() => {
            const { loss } = lossOf(dump.task as Task, model, batch, { ...options, step });
            backward(loss);
            return loss.detach();
          });
        if (dump.has('output/loss_before_drop')) {
          const loss = at(dump.number('drop_worst_after', 0));
          const [wanted] = (await dump.values('output/loss_before_drop')).values;
          assert.ok(Math.abs((await loss.item()) - wanted) < 2e-5 * wanted);
          loss.dispose();
          model.zeroGrad();
        }
        const loss = at(dump.number('global_step', 0));
        const [wanted] = (await dump.values('output/loss')).values;
        assert.ok(Math.abs((await loss.item()) - wanted) < 2e-5 * wanted, `${await loss.item()} is not ${wanted}`);
        loss.dispose();
        let compared = 0;
        for (const [parameter, p] of model.namedParameters()) {
          if (p.grad === null) continue;
          const theirs = (await dump.values(`grad/${parameter}`)).values as Float32Array;
          const size = theirs.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
          assertClose(await p.grad.data(), theirs, { relative: 1e-3, absolute: 1e-3 * size + 1e-7 }, parameter);
          compared++;
        }
        assert.ok(compared > 40, `${compared} gradients`);
      });
      assert.equal(backend.stats.liveBytes, before);
    });
  }

  it('metrics are shares of right rows, and there are none of mixed pictures', async () => {
    const backend = await useBackend('wasm', { threads: 2 });
    await withDump('nlvr2', backend, async (dump, model) => {
      const batch = (await batchOf(dump, 'nlvr2')) as TaskBatches['nlvr2'];
      const { values } = await dump.values('output/logits');
      const right = Array.from(batch.labels, (label, b) => Number(values[2 * b + 1] > values[2 * b]) === label);
      const made = scope(() => trainingLoss('nlvr2', model as TaskModels['nlvr2'], batch));
      assert.ok(Math.abs((await made.metrics.acc.item()) - right.filter(Boolean).length / 3) < 1e-6);
      made.loss.dispose();
      made.metrics.acc.dispose();
    });
    await withDump('imageclassification_mixup', backend, async (dump, model) => {
      const batch = await batchOf(dump, 'imageclassification');
      const made = scope(() => lossOf('imageclassification', model, batch));
      made.loss.dispose();
      assert.deepEqual(made.metrics, {});
    });
  });

  it('refuses to train on questions without answers', async () => {
    const backend = await useBackend('wasm', { threads: 2 });
    await withDump('vqav2', backend, async (dump, model) => {
      const batch = { ...((await batchOf(dump, 'vqav2')) as TaskBatches['vqav2']), scores: null };
      assert.throws(
        () => trainingLoss('vqav2', model as TaskModels['vqav2'], batch),
        (error) => error instanceof InputError && /with answers to train on/.test(error.message),
      );
    });
  });

  it('refuses a token that the model does not have', async () => {
    await useBackend('wasm', { threads: 2 });
    const model = tinyModel('vqav2');
    const batch = tinyBatch('vqav2', 2);
    for (const id of [-1, TINY.vocab_size]) {
      batch.ids[1] = id;
      assert.throws(
        () => trainingLoss('vqav2', model, batch),
        (error) =>
          error instanceof InputError &&
          error.message.includes(`the token ${id}, but the model knows those from 0 to 29`),
      );
    }
    model.dispose();
  });
});

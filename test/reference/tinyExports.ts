/** Tiny models after a little training, exported as fine-tuning exports them, and what they make of a batch. */
import { join } from 'node:path';
import { describeSpec, writableTensors } from '../../beit3/checkpoint.js';
import type { ModelSpec, Task } from '../../beit3/config.js';
import { unusedWeights } from '../../beit3/finetune/export.js';
import type { TaskModels } from '../../beit3/heads/index.js';
import { exportWeights, trainedConfig } from '../../beit3/training/export.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import type { Module } from '../../nn/module.js';
import { arraysOf, type TaskBatch } from './stream.js';
import { tinyModel, tinySpec, tinySteps, trainTiny } from './tiny.js';

const TRAINED = 20;

/** Writes TASK.safetensors and TASK.pth into a folder. */
export async function exportTiny(task: Task, folder: string, backend: Backend): Promise<string[]> {
  const model = tinyModel(task, backend, false);
  try {
    await trainTiny(task, model, tinySteps(task, TRAINED));
    const spec = tinySpec(task);
    return await exportWeights(
      join(folder, task),
      'both',
      [...writableTensors(model.stateDict()), ...unusedWeights(spec, new Map(), 'official', 1)],
      describeSpec({ ...spec, config: trainedConfig(spec.config) }),
    );
  } finally {
    model.dispose();
  }
}

/** A batch of random pictures and texts for a model of these sizes. */
export function batchFor({ task, config }: ModelSpec, size = 3): TaskBatch {
  const { img_size: side, vocab_size, max_source_positions } = config;
  const g = new Generator(11);
  const image = { size, side, images: g.normal(size * 3 * side * side), files: [] };
  const length = Math.min(9, max_source_positions - 2);
  const ids = g.integers(size * length, 4, vocab_size - 1);
  // The first text has the whole length, and each one after a word less.
  const padding = Uint8Array.from(ids, (_, i) => (i % length >= length - Math.floor(i / length) ? 1 : 0));
  const text = { ...image, ids: ids.map((id, i) => (padding[i] ? 1 : id)), padding, length };
  const zeros = new Int32Array(size);
  switch (task) {
    case 'imageclassification':
      return { task, batch: { ...image, labels: zeros, targets: null } };
    case 'vqav2':
      return { task, batch: { ...text, scores: new Float32Array(size), questionIds: [] } };
    case 'nlvr2':
      return { task, batch: { ...text, images2: g.normal(image.images.length), labels: zeros, identifiers: [] } };
    case 'captioning': {
      const predict = Int32Array.from(ids.keys()).filter((i) => i % 2 === 1 && padding[i] === 0);
      const masked = text.ids.slice();
      for (const i of predict) masked[i] = vocab_size - 1;
      return { task, batch: { ...text, masked, predict, targets: predict.map((i) => ids[i]), imageIds: [] } };
    }
    case 'retrieval':
      return { task, batch: { ...text, imageIds: [] } };
  }
}

/** The batch as plain lists with shapes. */
export function listsOf(batch: TaskBatch): Record<string, [values: number[], shape: readonly number[]]> {
  return Object.fromEntries(arraysOf(batch).map(([name, values, shape]) => [name, [[...values], shape]]));
}

/** What a model makes of a batch: logits, or the features of both sides for retrieval. */
export async function outputsOf(model: Module, one: TaskBatch, backend: Backend): Promise<Record<string, number[]>> {
  const given = (name: string, dtype?: 'bool'): Tensor => {
    const [, values, shape] = arraysOf(one).find(([key]) => key === name)!;
    return tensor(values as Int32Array, { shape: [...shape], backend, dtype });
  };
  const of = <T extends Task>(_: T) => model as unknown as TaskModels[T];
  const results = noGrad(() =>
    scope((): Record<string, Tensor> => {
      const image = given('images');
      if (one.task === 'imageclassification') return { logits: of(one.task).forward(image) };
      const padding = given('padding', 'bool');
      switch (one.task) {
        case 'vqav2':
          return { logits: of(one.task).forward(image, given('ids'), padding) };
        case 'nlvr2':
          return { logits: of(one.task).forward(image, given('images2'), given('ids'), padding) };
        case 'captioning':
          return { logits: of(one.task).forward(image, given('masked'), padding, given('predict')) };
        case 'retrieval': {
          const { image: picture, text } = of(one.task).forward(image, given('ids'), padding);
          return { image: picture, text };
        }
      }
    }),
  );
  const lists: Record<string, number[]> = {};
  for (const [name, t] of Object.entries(results)) {
    lists[name] = [...((await t.data()) as Float32Array)];
    t.dispose();
  }
  return lists;
}

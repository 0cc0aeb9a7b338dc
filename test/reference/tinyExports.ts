/** Tiny models after a little training, exported as fine-tuning exports them, and what they make of a batch. */
import { join } from 'node:path';
import type { Task } from '../../beit3/config.js';
import { exportWeights, unusedWeights } from '../../beit3/finetune/export.js';
import type { TaskModels } from '../../beit3/heads/index.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
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
      model.stateDict(),
      unusedWeights(spec, new Map(), 'official', 1),
      spec,
    );
  } finally {
    model.dispose();
  }
}

/** A batch of a task that no training saw in this order. */
export function batchFor(task: Task): TaskBatch {
  const [{ batches }] = tinySteps(task, 1);
  return batches[0];
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

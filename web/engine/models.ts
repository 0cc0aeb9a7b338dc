/** From a person's choice to what pipelines are made from. Runs in a worker. */
import { specOf } from '../../beit3/checkpoint.js';
import type { Task } from '../../beit3/config.js';
import type { PipelineOptions } from '../../beit3/pipeline/index.js';
import { openCheckpoint } from '../../checkpoints/checkpoint.js';
import { InputError } from '../../core/errors.js';
import { fetchBlob, type OnBytes } from '../checkpoints/download.js';
import type { Store } from '../checkpoints/store.js';
import { type Model, type ModelChoice, type PageTask, SHIPPED, TASKS } from './protocol.js';

/** The files of a model. */
export interface ModelFiles {
  readonly checkpoint: File;
  readonly tokenizer?: File;
  readonly labels: { readonly classify?: File; readonly vqa?: File };
}

const HEADS: Readonly<Record<PageTask, Task>> = {
  classify: 'imageclassification',
  vqa: 'vqav2',
  nlvr2: 'nlvr2',
  caption: 'captioning',
  retrieve: 'retrieval',
};

let shipped: ModelFiles | null = null;

/** The files of a choice. Those of the shipped model lie beside this program and are fetched once. */
export async function filesOf(choice: ModelChoice, store: Store, onBytes: OnBytes): Promise<ModelFiles> {
  if (choice.checkpoint !== SHIPPED) {
    const [checkpoint, tokenizer, labels] = await Promise.all(
      [choice.checkpoint, choice.tokenizer, choice.labels].map((id) => (id === null ? undefined : store.file(id))),
    );
    return { checkpoint: checkpoint as File, tokenizer, labels: { classify: labels, vqa: labels } };
  }
  shipped ??= await fetchShipped(onBytes);
  return shipped;
}

async function fetchShipped(onBytes: OnBytes): Promise<ModelFiles> {
  const names = ['model.safetensors', 'emoji.spm', 'classes.txt', 'answer2label.txt'];
  const [checkpoint, tokenizer, classify, vqa] = await Promise.all(
    names.map(async (name, i) => {
      const url = new URL(`./emoji/${name}`, import.meta.url);
      return new File([await fetchBlob(url, i === 0 ? onBytes : () => {})], name);
    }),
  );
  return { checkpoint, tokenizer, labels: { classify, vqa } };
}

/** What a checkpoint can do. Throws InputError for one that can do none of the tasks. */
export async function describe(files: ModelFiles): Promise<Model> {
  const { name, size } = files.checkpoint;
  const checkpoint = await openCheckpoint(files.checkpoint);
  try {
    const tasks: Partial<Record<PageTask, string | null>> = {};
    for (const task of TASKS) {
      try {
        await specOf(checkpoint, files.checkpoint, { task: HEADS[task] });
        const readsText = task !== 'classify';
        tasks[task] = readsText && !files.tokenizer ? 'This task reads text: choose the tokenizer of the model.' : null;
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        tasks[task] = error.message;
      }
    }
    const given = tasks as Record<PageTask, string | null>;
    return { name, bytes: size, tasks: given };
  } finally {
    await checkpoint.close();
  }
}

/** What a task's pipeline is made from. */
export function optionsFor(task: PageTask, files: ModelFiles): Omit<PipelineOptions, 'device'> {
  const { checkpoint, tokenizer, labels } = files;
  const own = task === 'classify' ? labels.classify : task === 'vqa' ? labels.vqa : undefined;
  return { checkpoint, ...(task === 'classify' ? {} : { tokenizer }), ...(own ? { labels: own } : {}) };
}

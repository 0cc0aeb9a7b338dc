/** Training runs of seconds that are the same on every machine: weights, samples and their order come from seeds. */
import { backward } from '../../autograd/backward.js';
import {
  type Beit3Config,
  type ModelSpec,
  normalizesOutput,
  parseConfig,
  TASKS,
  type Task,
} from '../../beit3/config.js';
import type { ImageBatch, TaskBatches, TextBatch } from '../../beit3/data/batch.js';
import { JointModel } from '../../beit3/emoji/zoo/model.js';
import { createModel, type TaskModels } from '../../beit3/heads/index.js';
import { layerDecayGroups } from '../../beit3/layerDecay.js';
import { trainingLoss } from '../../beit3/tasks/index.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import { affine } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { Builder, writeValues } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import { AdamW } from '../../nn/optim.js';
import { schedule } from '../../nn/schedules.js';
import { allHeads, type TaskBatch, type TrainingRun, type TrainingStep } from './stream.js';

/** A task, or all of them on one backbone. */
export type Course = Task | 'joint';
export const COURSES: readonly Course[] = [...TASKS, 'joint'];

export const STEPS = 200;
const BATCH = 8;
/** Samples that there are; a step sees BATCH of them. */
const POOL = 96;
const CLASSES = 10;
const ANSWERS = 12;
const SIDE = 16;
const VOCABULARY = 50;
const LENGTHS = [5, 11] as const;

const SIZES = parseConfig(
  {
    encoder_embed_dim: 32,
    encoder_attention_heads: 2,
    encoder_ffn_embed_dim: 64,
    encoder_layers: 2,
    img_size: SIDE,
    patch_size: 8,
    vocab_size: VOCABULARY,
    max_source_positions: 16,
  },
  'the tiny model',
);

/** The official models of some tasks end without a norm. */
function configOf(course: Course): Beit3Config {
  return { ...SIZES, normalize_output: course === 'joint' || normalizesOutput(course) };
}

export function tinyRun(course: Course): TrainingRun {
  const heads = allHeads(SIZES, CLASSES, ANSWERS);
  return {
    config: configOf(course),
    heads: course === 'joint' ? heads : { [course]: heads[course] },
    optimizer: { weightDecay: 0.05, layerDecay: 0.9, betas: [0.9, 0.98], eps: 1e-8, maxNorm: 1 },
    // The hardest words are dropped in the second half.
    loss: { labelSmoothing: 0.1, dropWorstRatio: 0.2, dropWorstAfter: STEPS / 2 },
    metadata: { format: 'pt' },
  };
}

export function tinySpec(task: Task): ModelSpec {
  return { task, config: configOf(task), numClasses: tinyRun(task).heads[task]?.classes ?? 0 };
}

/** `all` makes the weights too that the task does not use. Equal names have equal weights. */
export function tinyModel(course: Course, backend: Backend, all = true): Module {
  const b = new Builder({ backend, generator: new Generator(1) });
  const model: Module =
    course === 'joint'
      ? new JointModel(b, { config: SIZES, classes: CLASSES, answers: ANSWERS })
      : createModel(b, tinySpec(course), { all });
  for (const [name, t] of model.namedTensors()) {
    const values = weightsOf(name, t.shape);
    if (values) writeValues(t, values);
  }
  return model;
}

/** Not those that models start with: the losses that PyTorch had are to hold whatever becomes of those. */
export function weightsOf(name: string, shape: readonly number[]): Float32Array | null {
  if (shape.length === 0) return null;
  const seed = Array.from(name).reduce((hash, letter) => (31 * hash + letter.charCodeAt(0)) % 2 ** 32, 7);
  const values = new Generator(seed).normal(shape.reduce((a, b) => a * b));
  if (shape.length > 1) return values.map((v) => v / Math.sqrt(values.length / shape[0]));
  return values.map((v) => (name.endsWith('bias') ? 0.02 * v : 1 + 0.05 * v));
}

/** The steps of a course: every one a batch of each of its tasks. */
export function* tinySteps(course: Course, steps = STEPS): IterableIterator<TrainingStep> {
  const rates = schedule({ base: 1e-3, final: 1e-5, epochs: 1, stepsPerEpoch: STEPS, warmupSteps: 20 });
  const tasks = course === 'joint' ? TASKS : [course];
  const samples = tasks.map((task) => ({ task, pool: pool(task), order: new Generator(7) }));
  for (let step = 0; step < steps; step++) {
    yield {
      step,
      lr: rates[step],
      batches: samples.map(
        ({ task, pool, order }) => ({ task, batch: pool(order.permutation(POOL).subarray(0, BATCH)) }) as TaskBatch,
      ),
    };
  }
}

/** Rows of a table of numbers that has POOL of them. */
function rows<T extends Float32Array | Int32Array | Uint8Array>(values: T, chosen: Int32Array): T {
  const width = values.length / POOL;
  const out = values.slice(0, chosen.length * width) as T;
  for (const [i, row] of chosen.entries()) out.set(values.subarray(row * width, (row + 1) * width), i * width);
  return out;
}

/** POOL samples of a task, of which batches are chosen by number. */
function pool<T extends Task>(task: T): (chosen: Int32Array) => TaskBatches[T] {
  const g = new Generator(100 + TASKS.indexOf(task));
  const pictures = () => g.normal(POOL * 3 * SIDE * SIDE);
  const images = pictures();
  const images2 = pictures();
  const labels = g.integers(POOL, 0, task === 'nlvr2' ? 2 : CLASSES);
  const lengths = g.integers(POOL, ...LENGTHS);
  const ids = g.integers(POOL * LENGTHS[1], 4, VOCABULARY - 1);
  const scores = g.uniform(POOL * ANSWERS).map((u) => (u < 0.7 ? 0 : Math.round(10 * u) / 10));
  const hide = g.uniform(POOL * LENGTHS[1]);
  const batches = (chosen: Int32Array): TaskBatches => {
    const image: ImageBatch = {
      size: chosen.length,
      side: SIDE,
      images: rows(images, chosen),
      files: Array.from(chosen, (i) => `picture ${i}`),
    };
    const text = { ...image, ...texts(rows(ids, chosen), rows(lengths, chosen)) };
    const numbers = [...chosen];
    return {
      imageclassification: { ...image, labels: rows(labels, chosen), targets: null },
      vqav2: { ...text, scores: rows(scores, chosen), questionIds: numbers },
      nlvr2: {
        ...text,
        images2: rows(images2, chosen),
        labels: rows(labels, chosen),
        identifiers: numbers.map(String),
      },
      captioning: { ...text, ...masked(text, rows(hide, chosen)), imageIds: numbers },
      retrieval: { ...text, imageIds: numbers },
    };
  };
  return (chosen) => batches(chosen)[task];
}

/** Texts from <s> (0) to </s> (2), padding (1) after. */
function texts(words: Int32Array, lengths: Int32Array): TextBatch {
  const length = Math.max(...lengths);
  const ids = new Int32Array(lengths.length * length).fill(1);
  const padding = new Uint8Array(ids.length).fill(1);
  lengths.forEach((n, b) => {
    ids.set(words.subarray(b * LENGTHS[1], b * LENGTHS[1] + n), b * length);
    ids[b * length] = 0;
    ids[b * length + n - 1] = 2;
    padding.fill(0, b * length, b * length + n);
  });
  return { ids, padding, length };
}

/** More than half of the words, the end included, behind the mask, which is the last of the vocabulary. */
function masked({ ids, padding, length }: TextBatch, hide: Float32Array) {
  const predict = Int32Array.from(ids.keys()).filter(
    (i) => padding[i] === 0 && i % length > 0 && hide[Math.floor(i / length) * LENGTHS[1] + (i % length)] < 0.6,
  );
  const behind = ids.slice();
  for (const i of predict) behind[i] = VOCABULARY - 1;
  return { masked: behind, predict, targets: predict.map((i) => ids[i]) };
}

/** The model of one of its tasks. */
function modelOf<T extends Task>(model: Module, task: T): TaskModels[T] {
  return model instanceof JointModel ? model.of(task) : (model as TaskModels[T]);
}

/** Trains a model of a course as train.py does; the losses of each step in the order of its batches. */
export async function trainTiny(
  course: Course,
  model: Module,
  steps: Iterable<TrainingStep> = tinySteps(course),
): Promise<number[][]> {
  const { optimizer: settings, loss: options } = tinyRun(course);
  const { betas, eps, maxNorm, weightDecay, layerDecay } = settings;
  const groups = layerDecayGroups(model, { layers: SIZES.encoder_layers, layerDecay, weightDecay });
  const optimiser = new AdamW(groups, { betas, eps });
  const losses: number[][] = [];
  for (const { step, lr, batches } of steps) {
    const values: number[] = [];
    for (const { weight = 1, ...one } of batches)
      values.push(await accumulate(model, one, weight, { ...options, step }));
    optimiser.step({ lr, maxNorm })?.dispose();
    optimiser.zeroGrad();
    losses.push(values);
  }
  optimiser.dispose();
  return losses;
}

/** Adds the gradients of a batch; its loss. */
async function accumulate(
  model: Module,
  { task, batch }: TaskBatch,
  weight: number,
  options: Parameters<typeof trainingLoss>[3],
): Promise<number> {
  const loss = scope(() => {
    const { loss } = trainingLoss(task as Task, modelOf(model, task), batch, options);
    backward(affine(loss, weight, 0));
    return loss.detach();
  });
  const value = await loss.item();
  loss.dispose();
  return value;
}

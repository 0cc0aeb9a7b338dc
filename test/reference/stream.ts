/** What train.py reads: sizes, weights, settings and batches as frames, so that both sides train on the same numbers. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Beit3Config, TASKS, type Task } from '../../beit3/config.js';
import type { TaskBatches } from '../../beit3/data/batch.js';
import { outputsOf } from '../../beit3/emoji/zoo/model.js';
import type { TrainingLossOptions } from '../../beit3/tasks/index.js';
import type { Module } from '../../nn/module.js';
import type { AdamW } from '../../nn/optim.js';

/** A batch of any task, and of which. */
export type TaskBatch = { readonly [T in Task]: { readonly task: T; readonly batch: TaskBatches[T] } }[Task];

/** The batches whose gradients make one step of the optimiser, each loss times its weight. */
export interface TrainingStep {
  readonly step: number;
  readonly lr: number;
  readonly batches: readonly (TaskBatch & { readonly weight?: number })[];
}

export interface Settings {
  readonly weightDecay: number;
  readonly layerDecay?: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Clips gradients to this norm; 0 does not. */
  readonly maxNorm: number;
}

export interface TrainingRun {
  readonly config: Beit3Config;
  /** Outputs of each task's head; the tasks share one backbone. */
  readonly heads: Readonly<Partial<Record<Task, { readonly classes: number }>>>;
  readonly optimizer: Settings;
  readonly loss?: Omit<TrainingLossOptions, 'step'>;
  /** Decay of the moving average of the weights, which is then what is saved. */
  readonly ema?: number;
  /** Of the file of trained weights. */
  readonly metadata: Readonly<Record<string, string>>;
}

type Values = Float32Array | Int32Array | Uint8Array;
type Arrays = readonly (readonly [name: string, values: Values, shape: readonly number[]])[];

const KINDS = { Float32Array: 'f4', Int32Array: 'i4', Uint8Array: 'u1' } as const;

/** One frame: the length of a JSON text (uint32, little endian), the text, the values of the arrays that it lists. */
export function frame(fields: object, arrays: Arrays): Uint8Array[] {
  const described = arrays.map(([name, values, shape]) => {
    if (values.length !== shape.reduce((a, b) => a * b, 1))
      throw new RangeError(`${name} has ${values.length} values, not those of [${shape}]`);
    return [name, KINDS[values.constructor.name as keyof typeof KINDS], shape];
  });
  const text = new TextEncoder().encode(JSON.stringify({ ...fields, arrays: described }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  return [length, text, ...arrays.map(([, v]) => new Uint8Array(v.buffer, v.byteOffset, v.byteLength))];
}

/** The arrays of a batch under the names of its fields. */
export function arraysOf({ task, batch }: TaskBatch): Arrays {
  const { size: B, side: S } = batch;
  const images: Arrays = [['images', batch.images, [B, 3, S, S]]];
  if (task === 'imageclassification') {
    const { labels, targets } = batch;
    return [
      ...images,
      ['labels', labels, [B]],
      ...(targets ? ([['targets', targets, [B, targets.length / B]]] as const) : []),
    ];
  }
  const { ids, padding, length } = batch;
  const texts: Arrays = [...images, ['ids', ids, [B, length]], ['padding', padding, [B, length]]];
  switch (task) {
    case 'vqav2':
      if (batch.scores === null) throw new TypeError('a batch to train on needs scores');
      return [...texts, ['scores', batch.scores, [B, batch.scores.length / B]]];
    case 'nlvr2':
      return [...texts, ['images2', batch.images2, [B, 3, S, S]], ['labels', batch.labels, [B]]];
    case 'captioning':
      return [
        ...texts,
        ['masked', batch.masked, [B, length]],
        ['predict', batch.predict, [batch.predict.length]],
        ['targets', batch.targets, [batch.targets.length]],
      ];
    case 'retrieval':
      return texts;
  }
}

/** The frame of the settings, the weights and the state of an optimiser that has begun, then one of every batch. */
export async function* trainingFrames(
  run: TrainingRun,
  weights: Module,
  steps: Iterable<TrainingStep> | AsyncIterable<TrainingStep>,
  optimiser?: AdamW,
): AsyncGenerator<Uint8Array> {
  const state: [string, Float32Array, readonly number[]][] = [];
  for (const [name, t] of [...weights.namedTensors(), ...(optimiser?.stateDict() ?? [])])
    state.push([name, (await t.data()) as Float32Array, t.shape]);
  const counts = Object.fromEntries(optimiser?.stepCounts() ?? []);
  yield* frame({ ...run, counts }, state);
  for await (const { step, lr, batches } of steps) {
    for (const [i, { weight = 1, ...batch }] of batches.entries())
      yield* frame({ task: batch.task, step, lr, weight, last: i === batches.length - 1 }, arraysOf(batch));
  }
}

/** Writes frames to standard output as fast as they are read. */
export function writeFrames(frames: AsyncIterable<Uint8Array>): Promise<void> {
  // A reader that ends early says why; a second complaint of ours would hide it.
  process.stdout.on('error', () => process.exit(1));
  return pipeline(Readable.from(frames, { objectMode: false }), process.stdout);
}

/** The heads of a run of all tasks. */
export function allHeads(config: Beit3Config, classes: number, answers: number): TrainingRun['heads'] {
  return Object.fromEntries(TASKS.map((task) => [task, { classes: outputsOf(task, { config, classes, answers }) }]));
}

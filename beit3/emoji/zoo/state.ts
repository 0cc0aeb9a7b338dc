/** A training run on disk: weights, optimiser and step in one safetensors file that appears whole or not at all. */

import { openCheckpoint, readFloat32, type TensorEntry, writeSafetensors } from '../../../checkpoints/index.js';
import { InputError } from '../../../core/errors.js';
import { type Tensor, tensor } from '../../../core/tensor.js';
import { writeValues } from '../../../nn/builder.js';
import { compareStates, type Module } from '../../../nn/module.js';
import type { AdamW } from '../../../nn/optim.js';
import { parseJson, writableTensors } from '../../checkpoint.js';

/** How far a run has come. */
export interface RunProgress {
  /** Steps done. */
  readonly step: number;
  /** Processor time of all threads, over all parts of the run. */
  readonly cpuSeconds: number;
  /** What the run was started with; a run goes on only under the same. */
  readonly recipe: string;
}

const MODEL = 'model.';
const OPTIMISER = 'optimiser.';

function* named(tensors: Iterable<[string, Tensor]>, prefix: string): Iterable<[string, Tensor]> {
  for (const [name, t] of tensors) yield [prefix + name, t];
}

export async function saveRun(path: string, model: Module, optimiser: AdamW, progress: RunProgress): Promise<void> {
  const tensors = writableTensors([...named(model.namedTensors(), MODEL), ...named(optimiser.stateDict(), OPTIMISER)]);
  const counts = JSON.stringify(Object.fromEntries(optimiser.stepCounts()));
  await writeSafetensors(path, tensors, { progress: JSON.stringify(progress), counts });
}

/** Fills the model and the optimiser from a file of saveRun. Throws InputError for another file, and for another recipe. */
export async function loadRun(path: string, model: Module, optimiser: AdamW, recipe: string): Promise<RunProgress> {
  const checkpoint = await openCheckpoint(path);
  try {
    const { progress: text, counts } = checkpoint.metadata;
    if (text === undefined || counts === undefined) throw new InputError(`${path} holds no training run.`);
    const progress = parseJson(text, `The progress inside ${path}`) as RunProgress;
    if (progress.recipe !== recipe) {
      throw new InputError(
        `${path} is a run of another recipe; give another --output, or --resume none to start over.`,
      );
    }
    const of = (prefix: string) =>
      new Map(
        [...checkpoint.tensors].flatMap(([name, entry]): [string, TensorEntry][] =>
          name.startsWith(prefix) ? [[name.slice(prefix.length), entry]] : [],
        ),
      );
    const weights = of(MODEL);
    const own = model.stateDict();
    const problem = compareStates(own, weights);
    if (problem) throw new InputError(`${path} does not fit the model: ${problem}.`);
    for (const [name, target] of own) writeValues(target, await readFloat32(weights.get(name) as TensorEntry));

    const moments = new Map<string, Tensor>();
    const [{ backend }] = own.values();
    try {
      for (const [name, entry] of of(OPTIMISER)) {
        moments.set(name, tensor(await readFloat32(entry), { shape: [...entry.shape], backend }));
      }
      const steps = parseJson(counts, `The counts inside ${path}`) as Record<string, number>;
      optimiser.loadStateDict(moments, new Map(Object.entries(steps)));
    } finally {
      for (const t of moments.values()) t.dispose();
    }
    return progress;
  } finally {
    await checkpoint.close();
  }
}

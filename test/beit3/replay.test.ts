/** Training steps that are replayed give the numbers of those that run, bit for bit. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { disposeBackend } from '../../backends/index.js';
import { normalizesOutput, parseConfig, type Task } from '../../beit3/config.js';
import type { TaskBatches, TextBatch } from '../../beit3/data/batch.js';
import { beit3Subject } from '../../beit3/finetune/beit3Subject.js';
import { DEFAULTS, type Settings } from '../../beit3/finetune/settings.js';
import { type StepResult, Trainer } from '../../beit3/finetune/trainer.js';
import type { Backend, Recording } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { defaultGenerator, manualSeed } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { gpuOrReason } from '../support/gpu.js';
import { withoutLeak } from '../support/values.js';
import { CLASSES, TINY, tinyBatch, tinyModel } from './tinyBatches.js';

const found = await gpuOrReason();
const STEPS = 6;
const SIZE = 2;

/** Batches of one shape, all with padding or all without. */
function batchesOf<T extends Task>(task: T, count: number): TaskBatches[T][] {
  const shapeOf = (batch: object) => {
    const { length, padding } = batch as Partial<TextBatch>;
    return `${length} ${padding?.includes(1)}`;
  };
  const batches: TaskBatches[T][] = [];
  for (let seed = 10; batches.length < count; seed++) {
    const batch = tinyBatch(task, SIZE, seed);
    if (batches.length === 0 || shapeOf(batch) === shapeOf(batches[0])) batches.push(batch);
  }
  return batches;
}

interface Run {
  readonly results: readonly StepResult[];
  readonly tensors: Record<string, number[]>;
  readonly counts: ReadonlyMap<string, number>;
  readonly random: object;
  readonly replays: number;
}

/** A backend as if it computed in float16: it rounds what it stores. */
function asIfHalf(backend: Backend): Backend {
  return new Proxy(backend, {
    get: (target, key) => {
      if (key === 'caps') return { ...target.caps, storageOnly: new Set(['bfloat16']) };
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** How many replays a backend has started since. */
function countReplays(backend: Backend): { count: number; end(): void } {
  const { record } = backend;
  const counter = {
    count: 0,
    end() {
      backend.record = record;
    },
  };
  backend.record = () => {
    const recording = record?.call(backend) as Recording;
    const { replay } = recording;
    recording.replay = () => {
      counter.count++;
      replay.call(recording);
    };
    return recording;
  };
  return counter;
}

/** Steps of fine-tuning with dropped layers and a learning rate that changes. */
async function train<T extends Task>(task: T, settings: Partial<Settings>): Promise<Run> {
  const backend = settings.amp ? asIfHalf(found as Backend) : (found as Backend);
  setDefaultBackend(backend);
  return withoutLeak(backend, async () => {
    manualSeed(7);
    const replays = countReplays(backend);
    const extra = { drop_path_rate: 0.4, checkpoint_activations: settings.checkpointActivations ?? false };
    const model = tinyModel(task, extra);
    model.train();
    const config = parseConfig({ ...TINY, normalize_output: normalizesOutput(task), ...extra }, 'the test');
    const spec = { task, config, numClasses: CLASSES[task] };
    const trainer = new Trainer(beit3Subject(spec, 'magneto'), model, { ...DEFAULTS, modelEma: true, ...settings });
    const batches = batchesOf(task, STEPS * (settings.updateFreq ?? 1))[Symbol.iterator]();
    const next = async () => batches.next().value as TaskBatches[T];
    const results: StepResult[] = [];
    for (let step = 0; step < STEPS; step++) {
      // The first step overflows by itself.
      if (step === 4) trainer.scaler?.restore({ scale: 2 ** 127, growthTracker: 0 });
      if (step === 5) trainer.scaler?.restore({ scale: 2 ** 10, growthTracker: 0 });
      results.push(await trainer.step(next, step, 1e-3 * (1 + step)));
    }
    const tensors: Record<string, number[]> = {};
    const collect = async (prefix: string, entries: Iterable<readonly [string, Tensor]>) => {
      for (const [name, t] of entries) tensors[prefix + name] = Array.from(await t.data());
    };
    await collect('', model.namedParameters());
    await collect('optimiser.', trainer.optimiser.stateDict());
    await collect('average.', trainer.ema?.stateDict() ?? []);
    const run = {
      results,
      tensors,
      counts: trainer.optimiser.stepCounts(),
      random: defaultGenerator().state(),
      replays: replays.count,
    };
    trainer.dispose();
    model.dispose();
    replays.end();
    return run;
  });
}

describe('replayed training', { skip: typeof found === 'string' ? found : false }, () => {
  after(() => disposeBackend('webgpu'));
  // Two runs make state, the third is recorded; of averaging, which overflows leave out, the second.
  const cases: [Task, Partial<Settings>, replays: number][] = [
    ['imageclassification', { clipGrad: 0.5, updateFreq: 2, checkpointActivations: true }, STEPS - 3 + STEPS - 2],
    ['nlvr2', {}, STEPS - 3 + STEPS - 2],
    ['imageclassification', { clipGrad: 1, amp: true }, STEPS - 3 + STEPS - 4],
  ];
  for (const [task, settings, replays] of cases) {
    it(`${task} with ${JSON.stringify(settings)}`, async () => {
      const eager = await train(task, settings);
      const replayed = await train(task, { ...settings, replay: true });
      assert.deepEqual([eager.replays, replayed.replays], [0, replays]);
      if (settings.amp)
        assert.deepEqual(
          eager.results.map(({ gradNorm }) => gradNorm === null),
          [true, false, false, false, true, false],
        );
      assert.deepEqual(replayed.results, eager.results);
      assert.deepEqual(replayed.tensors, eager.tensors);
      assert.deepEqual(replayed.counts, eager.counts);
      assert.deepEqual(replayed.random, eager.random);
      assert.equal(new Set(eager.results.map(({ loss }) => loss)).size, STEPS);
    });
  }
});

import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { parseConfig } from '../../beit3/config.js';
import { ItcTask } from '../../beit3/itc/task.js';
import { type RunEvent, type RunOptions, runSteps } from '../../beit3/training/run.js';
import { InputError } from '../../core/errors.js';
import { manualSeed } from '../../core/random.js';
import { TINY, tinyBatch, tinyModel } from './tinyBatches.js';

const OPTIONS = {
  kind: 'itc',
  steps: 9,
  rates: { lr: 1e-3, minLr: 0, warmupSteps: 2 },
  settings: { seed: 1, batchSize: 4 },
  saveFreq: 4,
};

/** A task whose data is a function of its position. */
function task(): ItcTask {
  let at = 0;
  const config = parseConfig(TINY, 'the test');
  return new ItcTask(
    tinyModel('retrieval', { drop_path_rate: 0.2 }),
    {
      next: async () => [tinyBatch('retrieval', 4, ++at)],
      position: () => at,
      restore: async (position) => {
        at = position as number;
      },
      close: async () => {},
    },
    { config, layerDecay: 0.9, weightDecay: 0.05, betas: [0.9, 0.98], eps: 1e-8, clipGrad: 1 },
  );
}

describe('runs by steps', async () => {
  const backend = await useBackend('wasm', { threads: 1 });
  const root = await mkdtemp(join(tmpdir(), 'azulejo-steps-'));
  after(async () => {
    disposeBackend('wasm');
    await rm(root, { recursive: true });
  });

  /** Runs in a folder with everything made anew, as a new process would; gives the weights at the end. */
  async function run(folder: string, extra: Partial<RunOptions> = {}, seed = 5) {
    manualSeed(seed);
    const made = task();
    const start = backend.stats.liveBytes;
    const events: RunEvent[] = [];
    try {
      const options = {
        ...OPTIONS,
        output: join(root, folder),
        onEvent: (event: RunEvent) => events.push(event),
        ...extra,
      };
      const result = await runSteps(made, options);
      const weights: Record<string, number[]> = {};
      for (const [name, p] of made.model.namedParameters()) weights[name] = [...((await p.data()) as Float32Array)];
      return { result, weights, events, start };
    } finally {
      made.dispose();
      made.model.dispose();
    }
  }

  it('go on where they were ended, to the same numbers and the same log', async () => {
    const whole = await run('whole');
    assert.deepEqual([whole.result.steps, whole.result.interrupted], [9, false]);
    const signal = new AbortController();
    const first = await run('parts', {
      signal: signal.signal,
      onEvent: (event) => event.type === 'step' && event.step === 5 && signal.abort(),
    });
    assert.deepEqual([first.result.steps, first.result.interrupted], [5, true]);
    // Another state of the generator, as in another process.
    const rest = await run('parts', {}, 77);
    assert.equal(rest.result.steps, 9);
    assert.deepEqual(rest.weights, whole.weights);
    const lossesOf = async (folder: string) =>
      (await readFile(join(root, folder, 'log.jsonl'), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => {
          const { step, loss, gradNorm, lr } = JSON.parse(line) as Record<string, number>;
          return { step, loss, gradNorm, lr };
        });
    assert.deepEqual(await lossesOf('parts'), await lossesOf('whole'));
    assert.deepEqual((await readdir(join(root, 'whole'))).filter((name) => name.startsWith('checkpoint')).sort(), [
      'checkpoint-8.safetensors',
      'checkpoint-9.safetensors',
    ]);
  });

  it('refuse to go on with other settings, and begin anew when told to', async () => {
    await run('other', { stopAfter: 2 });
    const refused = (extra: Partial<RunOptions>, message: RegExp) =>
      assert.rejects(run('other', extra), (error) => error instanceof InputError && message.test(error.message));
    await refused({ settings: { seed: 2, batchSize: 4 } }, /--seed 1, not 2/);
    await refused({ kind: 'pretrain' }, /the command "itc", not "pretrain"/);
    await refused({ steps: 12 }, /--steps 9, not 12/);
    await refused(
      { rates: { lr: 1e-3, minLr: 0, warmupSteps: 20 } },
      /warm-up of 20 steps is longer than the run of [0-9]+; lower --warmup-steps/,
    );
    assert.equal((await run('other', { resume: 'none', steps: 3 })).result.steps, 3);
  });

  it('keep the last good checkpoint when the loss is none', async () => {
    const made = task();
    const whole = made.step.bind(made);
    made.step = async (batch, step, lr) => {
      return whole(step === 6 ? batch.map((b) => ({ ...b, images: b.images.map(() => Number.NaN) })) : batch, step, lr);
    };
    await assert.rejects(
      runSteps(made, { ...OPTIONS, output: join(root, 'nan') }),
      /The loss is NaN at step 7; the pictures of its batch are 0\.png.*; the last good checkpoint is .*checkpoint-4/,
    );
    made.dispose();
    made.model.dispose();
  });
});

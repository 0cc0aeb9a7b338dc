import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { DataLoader } from '../../beit3/data/loader/index.js';
import { epochOrder } from '../../beit3/data/loader/order.js';
import { startThreads } from '../../beit3/data/loader/threads.js';
import { evaluation, imageNetTraining } from '../../beit3/data/transforms/index.js';
import { inputError } from '../checkpoints/helpers.js';
import { numbered, SIZE, training } from './loaderHelpers.js';

describe('threads', () => {
  /** The threads that are sent something. */
  function watchThreads(t: TestContext): Set<Worker> {
    const seen = new Set<Worker>();
    const { postMessage } = Worker.prototype;
    t.mock.method(Worker.prototype, 'postMessage', function (this: Worker, value: unknown) {
      seen.add(this);
      postMessage.call(this, value);
    });
    return seen;
  }
  const options = { ...training, workers: 2, batchSize: 2 };

  test('that die end an epoch with one sentence, and nothing hangs', async (t) => {
    const threads = watchThreads(t);
    const loader = new DataLoader(numbered(40), options);
    const epoch = loader.epoch(0);
    await epoch.next();
    const [one] = threads;
    await one.terminate();
    const rest = async (): Promise<void> => {
      for await (const _ of epoch);
    };
    await assert.rejects(rest, inputError(/^A thread that loads pictures died \(it exited with 1\); use fewer/));
    await assert.rejects(loader.epoch(0).next(), inputError(/^A thread that loads pictures died/));
    await loader.close();
    assert.deepEqual(
      [...threads].map(({ threadId }) => threadId),
      [-1, -1],
    );
  });

  test('whose program fails end it too', async () => {
    const spec = { ...evaluation('vl', SIZE), size: -1 };
    const threads = await startThreads(1, spec);
    const job = { pictures: [], random: { seed: 0, counter: 0 }, keep: false };
    await assert.rejects(threads.load(job), inputError(/died \(The transform cannot have -1 for size\)/));
    await threads.close();
  });

  test('say in one sentence what a picture is refused for', async () => {
    const threads = await startThreads(1, imageNetTraining({ size: SIZE }));
    const picture = { width: 2, height: 2, data: new Uint8Array(12) };
    const job = { pictures: [picture], random: { seed: 0, counter: 0 }, keep: false };
    await assert.rejects(threads.load(job), inputError(/^A picture of 2 x 2 is too small to cut 16 x 16[^\n]*$/));
    await threads.close();
  });

  test('are freed in the middle of an epoch', async (t) => {
    const threads = watchThreads(t);
    const loader = new DataLoader(numbered(40), options);
    const epoch = loader.epoch(0);
    await epoch.next();
    const pending = epoch.next();
    const refused = assert.rejects(
      pending.then(() => epoch.next()),
      inputError(/closed/),
    );
    await loader.close();
    assert.equal(threads.size, 2);
    for (const { threadId } of threads) assert.equal(threadId, -1);
    await refused;
    await assert.rejects(loader.epoch(1).next(), inputError(/loader is closed/));
  });

  test('keep no program from ending', () => {
    const program = `
import { DataLoader } from './beit3/data/loader/index.js';
const picture = { width: 2, height: 2, data: new Uint8Array(12) };
const data = { task: 'imageclassification', size: 8, classes: 2, sample: () => ({ pictures: [picture], label: 0 }), where: String };
const transform = { size: 2, pipeline: 'vl', steps: [], erase: null };
const loader = new DataLoader(data, { batchSize: 2, transform, training: true, workers: 2 });
console.log((await loader.epoch(0).next()).value.size);`;
    const dist = fileURLToPath(new URL('../../', import.meta.url));
    const options = { cwd: dist, input: program, encoding: 'utf8', timeout: 20_000 } as const;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module'], options);
    assert.deepEqual([status, stdout, stderr], [0, '2\n', '']);
  });

  test('go on with the next epoch, and start over where an epoch is left', async () => {
    const loader = new DataLoader(numbered(12), { ...options, prefetch: 5 });
    const labels = async (epoch: number, from: number, count: number): Promise<number[]> => {
      const all: number[] = [];
      for await (const batch of loader.epoch(epoch, from)) {
        all.push(...batch.labels);
        if (--count === 0) break;
      }
      return all;
    };
    const expected = (epoch: number): number[] => [
      ...epochOrder(12, epoch, { training: true, seed: 0, rank: 0, worldSize: 1 }),
    ];
    assert.deepEqual(await labels(0, 0, 6), expected(0));
    assert.deepEqual(await labels(1, 0, 2), expected(1).slice(0, 4));
    assert.deepEqual(await labels(1, 2, 9), expected(1).slice(4));
    assert.deepEqual(await labels(0, 3, 9), expected(0).slice(6));
    const [first, second] = [loader.epoch(3), loader.epoch(4)];
    await first.next();
    await second.next();
    await assert.rejects(first.next(), inputError(/Another epoch/));
    assert.ok(loader.waitSeconds > 0);
    await loader.close();
  });
});

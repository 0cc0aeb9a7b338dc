import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import { makeFilled } from '../../beit3/checkpoint.js';
import { parseConfig, TASKS, type Task } from '../../beit3/config.js';
import type { AnyBatch, TaskBatches } from '../../beit3/data/batch.js';
import { type EvaluateOptions, type EvaluationReport, evaluate } from '../../beit3/evaluate/index.js';
import { createModel, type TaskModels } from '../../beit3/heads/index.js';
import { vqaSubmission } from '../../beit3/metrics/index.js';
import { Dump } from '../../beit3/parity/dump.js';
import type { Module } from '../../nn/module.js';
import { fixture } from '../support/fixtures.js';
import { inBatches, tinyTokenizer } from './tinyBatches.js';

/** The samples of a file that test/reference/evaluate.py wrote. */
async function samplesOf(dump: Dump): Promise<AnyBatch> {
  const { values, shape } = await dump.values('input/image');
  const [size, , side] = shape;
  const integers = async (name: string) => (await dump.values(`input/${name}`)).values as Int32Array;
  const floats = async (name: string) => (await dump.values(`input/${name}`)).values as Float32Array;
  const pictures = { size, side, images: values as Float32Array, files: new Array<string>(size).fill('') };
  if (dump.task === 'imageclassification') return { ...pictures, labels: await integers('label'), targets: null };
  if (dump.task === 'captioning') {
    const none = new Int32Array(0);
    const texts = { ids: none, length: 0, padding: new Uint8Array(0), masked: none, predict: none, targets: none };
    return { ...pictures, ...texts, imageIds: [...(await integers('image_id'))] };
  }
  const ids = await integers('language_tokens');
  const padding = Uint8Array.from(await integers('padding_mask'));
  const texts = { ...pictures, ids, padding, length: ids.length / size };
  if (dump.task === 'retrieval') return { ...texts, imageIds: [...(await integers('image_id'))] };
  if (dump.task === 'vqav2')
    return { ...texts, scores: await floats('labels'), questionIds: [...(await integers('qid'))] };
  const identifiers = Array.from({ length: size }, (_, i) => `dev-${i}-0-0`);
  return { ...texts, images2: await floats('image2'), labels: await integers('label'), identifiers };
}

interface Expected {
  /** Answers or captions as the reference writes them into its files. */
  readonly predictions?: readonly Readonly<Record<string, number | string>>[];
}

describe('evaluation gives what the engine of the reference gives', () => {
  after(() => disposeBackend('wasm'));

  /** Our report of a file's model and samples, and the file's metadata. */
  async function run<T extends Task>(task: T, options: EvaluateOptions) {
    const backend = await loadBackend('wasm', { threads: 2 });
    const dump = await Dump.open(fixture(`evaluate/${task}.safetensors`), backend);
    try {
      const json = dump.json('config');
      const spec = { task, config: parseConfig(json, dump.file), numClasses: Number(json.num_classes) };
      const make = (b: Parameters<typeof createModel>[0]) => createModel(b, spec) as TaskModels[T] & Module;
      const { model } = await makeFilled(make, dump.group('state/'), dump.file, { backend });
      const batch = (await samplesOf(dump)) as TaskBatches[T];
      const reports: EvaluationReport[] = [];
      for (const count of [4, 7]) reports.push(await evaluate(task, model, inBatches(batch, count), options));
      model.dispose();
      assert.deepEqual(reports[1], reports[0], 'the size of batches counts');
      return { report: reports[0], expected: dump.json('expected') };
    } finally {
      await dump.close();
    }
  }

  for (const task of TASKS.filter((name) => name !== 'captioning')) {
    it(task, async () => {
      const answers = Array.from({ length: 7 }, (_, i) => `answer ${i}`);
      const { report, expected } = await run(task, task === 'vqav2' ? { answers } : {});
      const { predictions, ...metrics } = expected as Expected & Record<string, number>;
      for (const [name, value] of Object.entries(metrics as Record<string, number>))
        assert.ok(Math.abs(report.metrics[name] - value) < 1e-4, `${name}: ${report.metrics[name]} is not ${value}`);
      assert.deepEqual(report.predictions && vqaSubmission(report.predictions), predictions ?? null);
    });
  }

  it('captioning', async () => {
    const tokenizer = await tinyTokenizer();
    const { report, expected } = await run('captioning', { tokenizer, maxLength: 12 });
    const written = new Map(report.predictions);
    assert.equal(new Set(written.values()).size, 6, 'the case tells nothing');
    for (const { image_id, caption } of (expected as Expected).predictions ?? []) {
      const ids = String(caption).split(' ').filter(Boolean).map(Number);
      assert.equal(written.get(image_id as number), tokenizer.decode(ids));
      written.delete(image_id as number);
    }
    assert.equal(written.size, 0);
  });
});

/** Fine-tuning end to end on stand-ins, at tiny size. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { loadModel } from '../../beit3/checkpoint.js';
import type { IndexTask } from '../../beit3/data/index/index.js';
import { TASK_OF } from '../../beit3/data/rows.js';
import {
  type EpochRecord,
  FINETUNE_TASKS,
  type FinetuneEvent,
  type FinetuneOptions,
  finetune,
  RECIPES,
  type StepRecord,
} from '../../beit3/finetune/index.js';
import { createModel } from '../../beit3/heads/index.js';
import { inferSpec } from '../../beit3/infer.js';
import { openCheckpoint, readFloat32, writeSafetensors } from '../../checkpoints/index.js';
import { diskError } from '../../checkpoints/sink.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { fixture } from '../checkpoints/helpers.js';
import { logOf, TINY } from '../cli/killLoop.js';
import { writeStandIn } from './standIns.js';

let folder = '';
const at = (...names: string[]): string => join(folder, ...names);

before(async () => {
  await useBackend('wasm', { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'azulejo-finetune-'));
  for (const task of FINETUNE_TASKS) await writeStandIn(task, at('data', task));
});

after(async () => {
  await rm(folder, { recursive: true, force: true });
  await disposeBackend('wasm');
});

let runs = 0;

/** Options of a run that takes no time, in an output folder of its own. */
function tiny(task: IndexTask, more: Partial<FinetuneOptions> = {}): FinetuneOptions {
  return {
    task,
    data: at('data', task),
    output: at(`run-${runs++}`),
    config: TINY,
    tokenizer: fixture('tokenizer.spm'),
    initialisation: 'magneto',
    batchSize: 2,
    epochs: 2,
    warmupEpochs: 1,
    workers: 0,
    logDir: null,
    // Two of the files in the folders of this stand-in are no pictures.
    skipBroken: task === 'imagenet',
    ...more,
  };
}

/** Runs and collects what it tells. */
async function told(options: FinetuneOptions) {
  const events: FinetuneEvent[] = [];
  const result = await finetune({ ...options, onEvent: (event) => events.push(event) });
  return {
    result,
    notes: events.flatMap((event) => (event.type === 'note' ? [event.text] : [])),
    steps: events.filter((event): event is StepRecord => event.type === 'step'),
    epochs: events.filter((event): event is EpochRecord => event.type === 'epoch'),
  };
}

/** Tensors of a checkpoint by name. */
async function weightsOf(path: string): Promise<Map<string, Float32Array>> {
  const file = await openCheckpoint(path);
  try {
    const read = Array.from(file.tensors, async ([name, entry]) => [name, await readFloat32(entry)] as const);
    return new Map(await Promise.all(read));
  } finally {
    await file.close();
  }
}

const KEYS = {
  imageclassification: 'acc1',
  vqav2: 'score',
  nlvr2: 'acc',
  retrieval: 'average_score',
  captioning: 'CIDEr',
} as const;

/** As deep as the base size: the recipe of the linear probe names a layer. */
const TINY_BEIT = { img_size: 48, patch_size: 16, embed_dim: 16, num_heads: 2, depth: 12 };

describe('finetune', () => {
  for (const task of FINETUNE_TASKS) {
    it(`${task}: trains, validates and exports what the whole official model holds`, async () => {
      const { result, steps, epochs } = await told(tiny(task, { steps: 3, exportFormat: 'both' }));
      assert.deepEqual([result.steps, result.interrupted], [3, false]);
      assert.equal(steps.length, 3);
      for (const { loss, gradNorm } of steps) assert.ok(Number.isFinite(loss) && (gradNorm ?? 0) > 0);
      assert.equal(steps[0].lr, 0, 'warm-up begins at 0');
      assert.ok(steps[1].lr > 0);
      const last = epochs.at(-1);
      assert.equal(last?.key, KEYS[TASK_OF[task]]);
      assert.ok(Number.isFinite(last?.validation?.[KEYS[TASK_OF[task]]]));
      assert.deepEqual(result.models, [
        join(result.models[0], '..', 'model.safetensors'),
        join(result.models[0], '..', 'model.pth'),
      ]);
      for (const path of result.models) {
        const file = await openCheckpoint(path);
        const config: unknown = JSON.parse((file.metadata.config ?? file.extra.config) as string);
        const spec = inferSpec(file.tensors, path, { config });
        await file.close();
        const whole = createModel(new Builder({ backend: metaBackend(), initialize: false }), spec, { all: true });
        assert.equal(spec.task, TASK_OF[task]);
        const names = (map: ReadonlyMap<string, unknown>): string[] => [...map.keys()].sort();
        assert.deepEqual(names(file.tensors), names(whole.stateDict()));
        const { model } = await loadModel(path);
        model.dispose();
      }
    });
  }

  for (const { name, task, settings, totalBatch } of RECIPES) {
    it(`recipe ${name}: two steps at tiny size`, async () => {
      const options = tiny(task, {
        recipe: name,
        steps: 2,
        validate: false,
        saveCkpt: false,
        ...(/^beit(v2)?_/.test(name) ? { config: TINY_BEIT } : { initialisation: 'official' }),
      });
      const { epochs: _, warmupEpochs: __, ...rest } = options;
      const { result, steps } = await told({ ...rest, updateFreq: 1, warmupSteps: 1 });
      assert.equal(result.steps, 2);
      assert.ok(steps.every(({ loss }) => Number.isFinite(loss)));
      // The highest rate is the recipe's, times that of the head where it has one of its own.
      const head = settings.layerDecay === 1 && task === 'vqav2' ? (settings.taskHeadLrWeight as number) : 1;
      assert.ok(Math.abs(steps[1].lr - (settings.lr as number) * head) < 1e-3 * (settings.lr as number) * head);
      assert.ok(totalBatch % (settings.batchSize as number) === 0);
    });
  }

  it('a checkpoint goes on at another resolution; what is new and what is not used is told', async () => {
    const first = await told(tiny('coco_retrieval', { steps: 2, validate: false }));
    const [source] = first.result.models;
    const larger = tiny('vqav2', {
      checkpoint: source,
      config: undefined,
      inputSize: 96,
      steps: 2,
      validate: false,
      lr: 0,
      minLr: 0,
    });
    const { result, notes } = await told(larger);
    assert.match(notes.join('\n'), /^New, not in .*pooler\.norm\.weight/m);
    assert.match(notes.join('\n'), /^Not used of .*language_head\.weight.*logit_scale/m);
    assert.match(notes.join('\n'), /resized from 12 to 39 rows/);
    const [before, tuned] = [await weightsOf(source), await weightsOf(result.models[0])];
    const table = 'beit3.encoder.embed_positions.A.weight';
    assert.equal(tuned.get(table)?.length, 39 * 32);
    // Without a learning rate nothing moves: what was there has been taken over.
    for (const [name, values] of tuned)
      if (name !== table && before.has(name)) assert.deepEqual(values, before.get(name));
    assert.ok(!notes.join('\n').includes('fresh weights'));
  });

  it('weights that the task does not use go from the checkpoint into the export', async () => {
    const [source] = (await told(tiny('coco_retrieval', { steps: 1, validate: false }))).result.models;
    const { result, notes } = await told(
      tiny('imagenet', { checkpoint: source, config: undefined, steps: 1, validate: false }),
    );
    assert.match(notes.join('\n'), /Not used of .*layers\.\*\.ffn\.B\.fc1\.weight, .*text_embed/);
    const [before, tuned] = [await weightsOf(source), await weightsOf(result.models[0])];
    for (const name of ['beit3.text_embed.weight', 'beit3.encoder.layers.1.ffn.B.fc1.weight'])
      assert.deepEqual(tuned.get(name), before.get(name));
  });

  it('captions are not validated where there are none to compare them with', async () => {
    const data = at('without');
    await cp(at('data', 'coco_captioning'), data, { recursive: true });
    await rm(join(data, 'dataset_coco.json'));
    const { notes, epochs } = await told(tiny('coco_captioning', { data, steps: 1 }));
    assert.match(notes.join('\n'), /^No validation: .* has no captions of the val split/m);
    assert.equal(epochs[0].validation, null);
  });

  it('gradients of several batches add up to those of one', async () => {
    const settings = { steps: 3, validate: false, dropPath: 0, randaug: false, lr: 1e-3 } as const;
    const one = await told(tiny('vqav2', { ...settings, batchSize: 4 }));
    const many = await told(tiny('vqav2', { ...settings, batchSize: 2, updateFreq: 2 }));
    one.steps.forEach(({ loss, gradNorm }, i) => {
      assert.ok(Math.abs(loss - many.steps[i].loss) < 1e-3 * loss);
      assert.ok(Math.abs((gradNorm ?? 0) - (many.steps[i].gradNorm ?? 0)) < 1e-2 * (gradNorm ?? 0));
    });
  });

  it('resumed anywhere, a run ends with the weights and the log of one that was not interrupted', async () => {
    const settings: Partial<FinetuneOptions> = {
      epochs: 3,
      dropPath: 0.3,
      randaug: true,
      modelEma: true,
      modelEmaDecay: 0.8,
      updateFreq: 2,
      clipGrad: 0.5,
      saveSteps: 1,
      seed: 5,
    };
    const whole = await told(tiny('nlvr2', settings));
    const parts = tiny('nlvr2', settings);
    let interruptions = 0;
    while ((await endedAfter(1 + (interruptions % 2), parts)).interrupted) interruptions++;
    assert.ok(interruptions >= 2);
    assert.deepEqual(await logOf(parts.output), await logOf(join(whole.result.log, '..')));
    const folders = [parts.output, join(whole.result.log, '..')];
    for (const file of ['model.safetensors', 'model-best.safetensors']) {
      const [one, other] = await Promise.all(folders.map((name) => readFile(join(name, file))));
      assert.ok(one.equals(other), `${file} differs`);
    }
    const again = await told(parts);
    assert.equal(again.steps.length, 0, 'what is complete is not trained again');
    assert.equal(again.epochs.length, 0);
  });

  it('other settings than those of the run that is resumed are refused', async () => {
    const options = tiny('nlvr2', { steps: 1, validate: false });
    await finetune(options);
    const refused = (more: Partial<FinetuneOptions>, what: RegExp) =>
      assert.rejects(finetune({ ...options, ...more }), { name: 'InputError', message: what });
    await refused({ lr: 0.1 }, /with --lr 0\.0005, not 0\.1, which would change the numbers/);
    await refused({ seed: 3 }, /with --seed 0, not 3/);
    await refused({ inputSize: 32 }, /with --input-size null, not 32/);
    await refused({ config: { ...TINY, encoder_layers: 3 } }, /a model of encoder_layers 2, not 3/);
    const fewer = at('fewer');
    await cp(at('data', 'nlvr2'), fewer, { recursive: true });
    const index = join(fewer, 'nlvr2.train.index.jsonl');
    const lines = (await readFile(index, 'utf8')).trimEnd().split('\n');
    await writeFile(index, `${lines.slice(1).join('\n')}\n`);
    await refused({ data: fewer }, /samples in --data of 5, not 4/);
    const other = await told({ ...options, evalBatchSize: 1, steps: 2, checkpointActivations: true, validate: true });
    assert.equal(other.result.steps, 2);
    await finetune({ ...options, lr: 0.1, resume: 'none' });
  });

  it('--resume auto skips what is no checkpoint and takes the newest that is one', async () => {
    const options = tiny('nlvr2', { steps: 2, validate: false, saveSteps: 1 });
    await finetune(options);
    await writeFile(join(options.output, 'checkpoint-9.safetensors'), 'half');
    await writeSafetensors(join(options.output, 'checkpoint-8.safetensors'), []);
    await writeFile(join(options.output, 'checkpoint-7.safetensors.abc.tmp'), 'left behind');
    const { notes, steps } = await told({ ...options, steps: 3 });
    assert.match(notes.join('\n'), /Skipped .*checkpoint-9\.safetensors: .*truncated|Skipped .*checkpoint-9/);
    assert.match(notes.join('\n'), /Skipped .*checkpoint-8\.safetensors: .*no training checkpoint/);
    assert.match(notes.join('\n'), /Resumed from .*checkpoint-2\.safetensors, after step 2/);
    assert.deepEqual(
      steps.map(({ step }) => step),
      [3],
    );
    assert.deepEqual((await readdir(options.output)).filter((name) => /^checkpoint/.test(name)).sort(), [
      'checkpoint-2.safetensors',
      'checkpoint-3.safetensors',
    ]);
  });

  it('a loss that is no number stops the run with step, pictures and the last good checkpoint', async () => {
    const options = tiny('vqav2', {
      lr: 1e3,
      minLr: 1e3,
      layerDecay: 1,
      warmupEpochs: 0,
      epochs: 20,
      saveSteps: 1,
      validate: false,
    });
    await assert.rejects(finetune(options), (error: Error) => {
      assert.equal(error.name, 'Error');
      assert.match(
        error.message,
        /^The (loss|norm of the gradients) is (NaN|-?Infinity) at step \d+; the pictures of its batch are .*\.jpg/,
      );
      assert.match(error.message, /the last good checkpoint is .*checkpoint-\d+\.safetensors/);
      return true;
    });
  });

  it('a full disk leaves the previous checkpoint whole', async () => {
    const options = tiny('nlvr2', { epochs: 3, saveSteps: 1, validate: false });
    let saves = 0;
    const writer: typeof writeSafetensors = (path, tensors, metadata) => {
      if (++saves < 3) return writeSafetensors(path, tensors, metadata);
      return Promise.reject(messageOfFullDisk(path));
    };
    await assert.rejects(finetune({ ...options, writer }), {
      name: 'InputError',
      message:
        /^The disk is full: cannot write .*checkpoint-3\.safetensors; the last good checkpoint is .*checkpoint-2\.safetensors\.$/,
    });
    const { notes, result } = await told(options);
    assert.match(notes.join('\n'), /Resumed from .*checkpoint-2\.safetensors/);
    assert.equal(result.interrupted, false);
  });

  it('averages are what is validated and exported', async () => {
    const settings = { steps: 4, lr: 1e-2, warmupEpochs: 0, validate: false } as const;
    const plain = await told(tiny('nlvr2', settings));
    const averaged = await told(tiny('nlvr2', { ...settings, modelEma: true, modelEmaDecay: 1 }));
    const start = await told(tiny('nlvr2', { ...settings, lr: 0, minLr: 0, steps: 1 }));
    const [a, b, c] = await Promise.all([plain, averaged, start].map(({ result }) => weightsOf(result.models[0])));
    assert.notDeepEqual(a.get('head.dense1.weight'), c.get('head.dense1.weight'));
    assert.deepEqual(b, c, 'an average that keeps all of itself is what training began with');
  });

  it('options that cannot be are refused in one sentence', async () => {
    const refused = (task: IndexTask, more: Partial<FinetuneOptions>, what: RegExp) =>
      assert.rejects(finetune(tiny(task, more)), { name: 'InputError', message: what });
    await refused('nlvr2', { lr: -1 }, /^--lr must be a number from 0 to 1000, got -1\.$/);
    await refused('nlvr2', { batchSize: 64 }, /has 5 samples to train on, fewer than the 64 of a step/);
    await refused('nlvr2', { data: at('nowhere') }, /There is no index file .*beit3 index nlvr2/);
    await refused('nlvr2', { config: undefined }, /The size of the model is not known/);
    await refused('nlvr2', { config: undefined, model: 'beit3_bas_patch16_224' }, /nearest is beit3_base_patch16_224/);
    await refused('nlvr2', { recipe: 'beit3_base_patch16_480_vqa' }, /is for vqav2, not for nlvr2/);
    await refused(
      'vqav2',
      { recipe: 'beit3_base_patch16_480_vqa', batchSize: 3 },
      /128 samples in a step, which --batch-size 3 does not divide/,
    );
    await refused(
      'nlvr2',
      { recipe: 'beit3_base_patch16_224_nlvr2', config: undefined },
      /beit3 pull beit3_base_patch16_224\.pth/,
    );
    await refused('nlvr2', { amp: true }, /^The device wasm does not compute in float16; leave --amp out\.$/);
    await refused('nlvr2', { numMaxBpeTokens: 64 }, /takes 38 tokens of a text at most; give --num-max-bpe-tokens 38/);
    await refused('nlvr2', { rank: 2, worldSize: 2 }, /--rank must be below --world-size 2/);
    await refused('nlvr2', { warmupEpochs: 3 }, /cannot hold 6 steps of warm-up/);
    await refused('imagenet', { mixup: 0.8, batchSize: 3 }, /--batch-size must be even, got 3/);
    await refused('coco_captioning', { tokenizer: undefined }, /needs a tokenizer/);
    await refused('nlvr2', { resume: at('data', 'nlvr2', 'nlvr2.train.index.jsonl') }, /train\.index\.jsonl/);
  });
});

function messageOfFullDisk(path: string): Error {
  try {
    diskError(path, Object.assign(new Error('no space'), { code: 'ENOSPC' }));
  } catch (error) {
    return error as Error;
  }
}

/** Runs until `most` steps were made, then interrupts. */
function endedAfter(most: number, options: FinetuneOptions) {
  const abort = new AbortController();
  let made = 0;
  const onEvent = (event: FinetuneEvent): void => {
    if (event.type === 'step' && ++made >= most) abort.abort();
  };
  return finetune({ ...options, signal: abort.signal, onEvent });
}

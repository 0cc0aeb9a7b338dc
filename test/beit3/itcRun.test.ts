/** Contrastive tuning end to end on shards and tables, at tiny size. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { loadModel } from '../../beit3/checkpoint.js';
import { finetune } from '../../beit3/finetune/index.js';
import { type ItcOptions, itc } from '../../beit3/itc/itc.js';
import { ITC_PAPER, runLength } from '../../beit3/itc/settings.js';
import { pipeline } from '../../beit3/pipeline/index.js';
import type { RunEvent } from '../../beit3/training/run.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { fixture } from '../checkpoints/helpers.js';
import { logOf, TINY } from '../cli/killLoop.js';
import { writePicture, writeStandIn } from './standIns.js';
import { type Member, tarOf } from './tars.js';
import { writeTinyPretrained } from './tinyModels.js';

const PAIRS = 24;
const WORDS = ['man', 'woman', 'dog', 'street', 'table', 'water'];
const wordsOf = (i: number): string => `a ${WORDS[i % 6]} ${WORDS[Math.floor(i / 6)]}`;

let folder = '';
let backend: Backend;
const at = (...names: string[]): string => join(folder, ...names);

before(async () => {
  backend = await useBackend('wasm', { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'azulejo-itc-'));
  await writeTinyPretrained(at('pretrained.safetensors'), { ...TINY, img_size: 32, vocab_size: 4002 });
  const rows: object[] = [];
  for (let shard = 0; shard < 2; shard++) {
    const members: Member[] = [];
    for (let i = shard; i < PAIRS; i += 2) {
      await writePicture(at(`${i}.png`), i);
      members.push({ name: `${i}.png`, bytes: new Uint8Array(await readFile(at(`${i}.png`))) });
      members.push({ name: `${i}.txt`, bytes: wordsOf(i) });
      rows.push({ image: `${i}.png`, caption: wordsOf(i) });
    }
    await writeFile(at(`${shard}.tar`), tarOf(members));
  }
  await writeFile(at('pairs.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
});

after(async () => {
  await disposeBackend('wasm');
  await rm(folder, { recursive: true, force: true });
});

const SETTINGS = { batchSize: 8, chunk: 3, lr: 2e-3, layerDecay: 1, dropPath: 0.1, textLength: 16, seed: 5 };

function run(output: string, { settings, ...extra }: Partial<ItcOptions> = {}) {
  return itc({
    pairs: [at('{0,1}.tar')],
    checkpoint: at('pretrained.safetensors'),
    tokenizer: fixture('tokenizer.spm'),
    output: at(output),
    workers: 0,
    logDir: null,
    ...extra,
    settings: { ...SETTINGS, ...settings },
  });
}

describe('contrastive tuning of a pretrained model', () => {
  it('goes on where it was ended, to the same weights and the same log', async () => {
    const start = backend.stats.liveBytes;
    const options = { settings: { pairsPerEpoch: PAIRS, epochs: 3 }, saveFreq: 4 } as const;
    const whole = await run('whole', options);
    assert.deepEqual([whole.steps, whole.interrupted, whole.model], [9, false, at('whole', 'model.safetensors')]);
    const part = await run('parts', { ...options, stopAfter: 4 });
    assert.deepEqual([part.steps, part.interrupted, part.model], [4, true, null]);
    // What was done after the checkpoint is lost, as with a process that was killed.
    await run('parts', { ...options, stopAfter: 6, saveFreq: 100, writer: async () => assert.fail('killed') }).catch(
      () => {},
    );
    const rest = await run('parts', options);
    assert.equal(rest.steps, 9);
    const [one, other] = await Promise.all(['whole', 'parts'].map((name) => readFile(at(name, 'model.safetensors'))));
    assert.ok(one.equals(other));
    assert.deepEqual(await logOf(at('parts')), await logOf(at('whole')));
    assert.equal(backend.stats.liveBytes, start);
    await assert.rejects(run('parts', { ...options, settings: { ...options.settings, chunk: 4 } }), /--chunk 3, not 4/);
  });

  it('learns pairs by heart, and leaves a model for everything that retrieves', async () => {
    const steps: Extract<RunEvent, { type: 'step' }>[] = [];
    const { model } = await run('learnt', {
      settings: { steps: 45, batchSize: PAIRS, chunk: 8, lr: 4e-3, dropPath: 0, warmupSteps: 5 },
      onEvent: (event) => void (event.type === 'step' && steps.push(event)),
    });
    const [first, last] = [steps[0], steps[steps.length - 1]];
    assert.ok(Math.abs(first.loss as number) > 2.5, `${first.loss}`);
    assert.ok((last.loss as number) < 1.5 && (last.acc as number) > 0.5, JSON.stringify(last));
    assert.ok((last.logitScale as number) > 1 && (last.logitScale as number) <= 100.001);
    const written = await openCheckpoint(model as string);
    const names = [...written.tensors.keys()];
    await written.close();
    for (const name of [
      ...['language_head.weight', 'vision_head.weight', 'logit_scale'],
      ...['beit3.encoder.layer_norm.A.weight', 'beit3.encoder.layer_norm.B.bias', 'beit3.text_embed.weight'],
    ])
      assert.ok(names.includes(name), name);
    assert.ok(!names.some((name) => /mlm_head|mim_head/.test(name)));
    const loaded = await loadModel(model as string);
    assert.deepEqual([loaded.spec.task, loaded.spec.config.drop_path_rate, loaded.unused], ['retrieval', 0, []]);
    loaded.model.dispose();
    // The tokenizer lies beside it.
    const retrieve = await pipeline('retrieve', { checkpoint: model as string });
    const texts = Array.from({ length: PAIRS }, (_, i) => wordsOf(i));
    let found = 0;
    for (const i of [1, 7, 12, 18]) {
      const best = await retrieve.run({ image: at(`${i}.png`), texts });
      if (best.slice(0, 5).some(({ index }) => index === i)) found++;
    }
    assert.ok(found >= 3, `${found} of 4 pictures find their text among the best 5`);
    retrieve.dispose();
    const data = await writeStandIn('coco_retrieval', at('coco'));
    const notes: string[] = [];
    const tuned = await finetune({
      ...{ task: 'coco_retrieval', data, output: at('tuned'), checkpoint: model as string, steps: 1, batchSize: 2 },
      ...{ workers: 0, logDir: null, validate: false, epochs: 1, warmupEpochs: 0 },
      onEvent: (event) => void (event.type === 'note' && notes.push(event.text)),
    });
    assert.equal(tuned.steps, 1);
    assert.doesNotMatch(notes.join(' '), /New, not in|Not used/);
  });

  it('counts the rows of tables, and cuts long texts with a remark', async () => {
    await writeFile(at('long.jsonl'), `{"image": "0.png", "caption": "${'dog '.repeat(40)}"}\n`.repeat(5));
    const notes: string[] = [];
    const result = await run('table', {
      pairs: [at('pairs.jsonl'), at('long.jsonl')],
      settings: { epochs: 1 },
      onEvent: (event) => void (event.type === 'note' && notes.push(event.text)),
    });
    assert.equal(result.steps, 3);
    assert.match(
      notes.join('\n'),
      /Cut to 16 tokens, as all texts are that are longer: .*long\.jsonl:\d, which has \d+\./,
    );
    assert.match(notes.join('\n'), /New, not in .*: logit_scale, language_head\.weight, vision_head\.weight\./);
    assert.match(notes.join('\n'), /Not used of .*: mim_head\.bias, mim_head\.weight, mlm_head/);
  });

  it('has the length that epochs, steps and pairs say', () => {
    const length = (settings: object, pairs: number | null) => runLength({ ...ITC_PAPER, ...settings }, pairs);
    // 21 million pairs, as in the paper.
    assert.deepEqual(length({}, 21e6), { steps: 6408, warmupSteps: 1281 });
    assert.deepEqual(length({ steps: 50 }, null), { steps: 50, warmupSteps: 10 });
    assert.deepEqual(length({ steps: 50, warmupSteps: 0 }, 1e6), { steps: 50, warmupSteps: 0 });
    assert.deepEqual(length({ epochs: 1, batchSize: 10, worldSize: 2 }, 99), { steps: 4, warmupSteps: 4 });
    assert.throws(
      () => length({}, null),
      (e) => e instanceof InputError && /give --pairs-per-epoch N/.test(e.message),
    );
    assert.throws(() => length({}, 9), /There are 9 pairs and a step takes 16384/);
  });

  it('refuses what cannot be', async () => {
    const refused = (extra: Partial<ItcOptions>, message: RegExp) =>
      assert.rejects(run('refused', extra), (error) => error instanceof InputError && message.test(error.message));
    await refused({}, /give --pairs-per-epoch N, or --steps N/);
    await refused({ pairs: [] }, /give pairs with --pairs/);
    await refused({ recipe: 'papers' }, /There is no recipe "papers"; the nearest is paper/);
    await refused(
      { settings: { steps: 2, textLength: 50 } },
      /takes 38 tokens of a text at most, got 50; lower --text-length/,
    );
    await refused({ settings: { steps: 2 }, checkpoint: fixture('tokenizer.spm') }, /tokenizer\.spm/);
    await refused({ settings: { steps: 2 }, tokenizer: undefined }, /no \.spm file lies beside/);
    await refused({ settings: { steps: 2, warmupSteps: 3 } }, /warm-up of 3 steps is longer than the run of 2/);
  });
});

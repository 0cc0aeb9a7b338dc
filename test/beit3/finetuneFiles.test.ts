/** What a run writes besides weights: its log and the event files of TensorBoard. */
import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import type { StepRecord } from '../../beit3/finetune/index.js';
import { RECIPES } from '../../beit3/finetune/recipes.js';
import { DEFAULTS, flagOf, parseSetting, SETTING_NAMES, SETTINGS } from '../../beit3/finetune/settings.js';
import { compactCounts } from '../../beit3/training/checkpoints.js';
import { RunLog } from '../../beit3/training/log.js';
import {
  crc32c,
  frame,
  restartEvent,
  scalarsEvent,
  TensorBoardWriter,
  versionEvent,
} from '../../beit3/training/tensorboard.js';
import { WEIGHTS } from '../../checkpoints/index.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-journal-'));
});
after(() => rm(folder, { recursive: true, force: true }));

function stepAt(step: number): StepRecord {
  const rest = {
    epoch: 0,
    loss: 1,
    lr: 1,
    minLr: 1,
    weightDecay: 0,
    gradNorm: 1,
    seconds: 1,
    dataSeconds: 0,
    samples: 1,
  };
  return { type: 'step', step, ...rest };
}

it('a resumed log holds each step once, whatever was written beyond the checkpoint', async () => {
  const path = join(folder, 'log.jsonl');
  const first = await RunLog.open(path, { step: 0, epoch: 0 });
  for (const step of [1, 2, 3, 4, 5]) first.add(stepAt(step));
  const epoch = { type: 'epoch', train: {}, validation: null, key: null, isBest: false, parameters: 1 } as const;
  first.add({ ...epoch, epoch: 0, step: 2 });
  first.add({ ...epoch, epoch: 1, step: 4 });
  await first.flush();
  await appendFile(path, '{"type":"step","st');
  const second = await RunLog.open(path, { step: 3, epoch: 1 });
  second.add(stepAt(4));
  await second.flush();
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const records = lines.map((line) => JSON.parse(line) as { type: string; step: number });
  assert.deepEqual(
    records.map(({ type, step }) => `${type} ${step}`),
    ['step 1', 'step 2', 'step 3', 'epoch 2', 'step 4'],
  );
});

it('CRC-32C gives the numbers of RFC 3720', () => {
  const bytes = (length: number, value: (i: number) => number) => Uint8Array.from({ length }, (_, i) => value(i));
  assert.equal(crc32c(bytes(32, () => 0)), 0x8a9136aa);
  assert.equal(crc32c(bytes(32, () => 0xff)), 0x62a8ab43);
  assert.equal(crc32c(bytes(32, (i) => i)), 0x46dd794e);
  assert.equal(crc32c(bytes(32, (i) => 31 - i)), 0x113fdb5c);
  assert.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
});

it('events are those that TensorBoard writes itself', () => {
  // tf.summary / EventFileWriter: the first record of every file, but for its time.
  const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
  assert.equal(hex(versionEvent(1.5)), `09000000000000f83f1a0d${Buffer.from('brain.Event:2').toString('hex')}`);
  assert.equal(hex(restartEvent(1.5, 300)), '09000000000000f83f10ac023a020801');
  assert.equal(
    hex(scalarsEvent(1.5, 300, { 'train/loss': 0.5 })),
    `09000000000000f83f10ac022a130a110a0a${Buffer.from('train/loss').toString('hex')}150000003f`,
  );
  const record = frame(Uint8Array.from([1, 2, 3]));
  assert.equal(record.length, 8 + 4 + 3 + 4);
  assert.equal(hex(record.subarray(0, 8)), '0300000000000000');
});

/** The records of an event file, once length and sums are found right. */
async function recordsOf(path: string): Promise<Buffer[]> {
  const file = await readFile(path);
  const masked = (data: Uint8Array): number => {
    const c = crc32c(data);
    return (((c >>> 15) | (c << 17)) + 0xa282ead8) >>> 0;
  };
  const records: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    assert.equal(file.readUInt32LE(at + 8), masked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    assert.equal(file.readUInt32LE(at + 12 + length), masked(data));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

it('a resumed run says to TensorBoard from which step its numbers come anew', async () => {
  const board = join(folder, 'board');
  const first = await TensorBoardWriter.open(board, 0);
  first.add(1, { 'train/loss': 2 });
  await first.flush();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const second = await TensorBoardWriter.open(board, 1);
  second.add(2, { 'train/loss': 1 });
  await second.flush();
  const files = (await readdir(board)).sort();
  assert.equal(files.length, 2);
  const [one, two] = await Promise.all(files.map((name) => recordsOf(join(board, name))));
  assert.equal(one.length, 2);
  assert.equal(two.length, 3);
  assert.ok(two[1].subarray(9).equals(Buffer.from('10023a020801', 'hex')), 'SessionLog.START at step 2');
});

it('recipes are those of the published checkpoints, and begin with published ones', () => {
  const files = new Set(WEIGHTS.map(({ name }) => name));
  assert.equal(RECIPES.length, 34);
  for (const { name, checkpoint, model } of RECIPES) {
    assert.ok(files.has(`${name}.pth`) || name.endsWith('_linear'), name);
    assert.ok(files.has(checkpoint), checkpoint);
    assert.ok(name.replace('_indomain', '').startsWith(model), model);
  }
  const of = (name: string) => RECIPES.find((recipe) => recipe.name === name);
  // From the official instructions: base on COCO retrieval with 16 devices, the in-domain rates of NLVR2, NoCaps.
  assert.deepEqual(of('beit3_base_patch16_384_coco_retrieval')?.totalBatch, 3072);
  assert.deepEqual(of('beit3_large_patch16_384_f30k_retrieval')?.settings.epochs, 20);
  assert.deepEqual(of('beit3_base_patch16_384_f30k_retrieval')?.settings.lr, 1e-4);
  assert.deepEqual(of('beit3_large_patch16_384_f30k_retrieval')?.settings.lr, 5e-5);
  assert.deepEqual(of('beit3_base_indomain_patch16_224_nlvr2')?.settings.lr, 5e-4);
  assert.deepEqual(of('beit3_large_indomain_patch16_224_nlvr2')?.settings.lr, 1e-4);
  assert.deepEqual(of('beit3_base_patch16_480_nocaps')?.settings.lr, 1e-5);
  assert.deepEqual(of('beit3_large_patch16_480_nocaps')?.settings.lr, 8e-6);
  assert.deepEqual(of('beit3_large_patch16_480_vqa')?.settings.dropPath, 0.15);
  assert.deepEqual(of('beit3_large_patch16_224_in1k')?.settings.layerDecay, 0.8);
  // BEiT v2: 1024 pictures in a step, rates and decay by how long the weights were pretrained.
  const v2 = ['base', 'large'].flatMap((size) =>
    ['300e_ft1k', 'ft1k', 'ft21kto1k'].map((end) => of(`beitv2_${size}_patch16_224_pt1k_${end}`)),
  );
  assert.deepEqual(
    v2.map((r) => [r?.totalBatch, r?.settings.lr, r?.settings.layerDecay, r?.settings.dropPath, r?.settings.epochs]),
    [
      [1024, 5e-4, 0.65, 0.1, 100],
      [1024, 5e-4, 0.6, 0.2, 100],
      [1024, 5e-5, 0.75, 0.1, 30],
      [1024, 5e-4, 0.8, 0.2, 50],
      [1024, 2e-4, 0.8, 0.2, 50],
      [1024, 7e-5, 0.8, 0.25, 20],
    ],
  );
  assert.deepEqual(of('beit_large_patch16_224_pt22k_ft22kto1k')?.totalBatch, 512);
});

it('defaults are those of the reference; flags read what they show', () => {
  assert.deepEqual([DEFAULTS.lr, DEFAULTS.layerDecay, DEFAULTS.batchSize, DEFAULTS.epochs], [5e-4, 0.9, 64, 20]);
  assert.equal(flagOf('cutmixMinmax'), 'cutmix-minmax');
  assert.deepEqual(parseSetting('optBetas', '0.9 0.98'), [0.9, 0.98]);
  assert.deepEqual(parseSetting('optBetas', '0.9,0.98'), [0.9, 0.98]);
  assert.throws(
    () => parseSetting('optBetas', '0.9'),
    /--opt-betas must be two numbers A,B from 0 to below 1, got "0\.9"/,
  );
  assert.throws(() => parseSetting('epochs', '1.5'), /--epochs must be a whole number from 1 to 1000000, got "1\.5"/);
  assert.throws(() => parseSetting('lr', ''), /--lr must be a number/);
  assert.throws(() => parseSetting('remode', 'noise'), /--remode must be one of pixel, rand, const/);
  for (const name of SETTING_NAMES) assert.ok(SETTINGS[name].help.endsWith('.'), name);
});

it('step counts are one number where all parameters have seen as many', () => {
  assert.equal(
    compactCounts(
      new Map([
        ['a', 3],
        ['b', 3],
      ]),
      2,
    ),
    3,
  );
  assert.deepEqual(
    compactCounts(
      new Map([
        ['a', 3],
        ['b', 2],
      ]),
      2,
    ),
    { a: 3, b: 2 },
  );
  assert.deepEqual(compactCounts(new Map([['a', 3]]), 2), { a: 3 });
});

it('an event file of a folder that cannot be is refused', async () => {
  await writeFile(join(folder, 'file'), '');
  await assert.rejects(TensorBoardWriter.open(join(folder, 'file', 'board'), 0), { name: 'InputError' });
});

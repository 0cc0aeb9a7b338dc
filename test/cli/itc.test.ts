/** `beit3 itc` in processes of its own: what it prints and refuses, signals and kills, and what its model is good for. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { writePicture, writeStandIn } from '../beit3/standIns.js';
import { writeTinyPretrained } from '../beit3/tinyModels.js';
import { fixture } from '../checkpoints/helpers.js';
import { beit3, refuse, succeed, succeedJson } from './command.js';
import { logOf, TINY } from './killLoop.js';

let folder = '';
const at = (...names: string[]): string => join(folder, ...names);
const run = (output: string, ...flags: string[]): string[] => [
  ...['itc', '--pairs', at('pairs.csv'), '--checkpoint', at('pretrained.safetensors'), '--output', at(output)],
  ...['--tokenizer', fixture('tokenizer.spm'), '--batch-size', '6', '--chunk', '4', '--text-length', '16'],
  ...['--workers', '0', '--save-freq', '2', '--print-freq', '1', '--seed', '3', ...flags],
];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-itc-cli-'));
  await useBackend('reference');
  await writeTinyPretrained(at('pretrained.safetensors'), { ...TINY, vocab_size: 4002 });
  await disposeBackend('reference');
  const rows = ['image,caption'];
  for (let i = 0; i < 12; i++) {
    await writePicture(at(`${i}.png`), i);
    rows.push(`${i}.png,a ${['man', 'dog', 'street'][i % 3]} and a ${['table', 'woman', 'bus', 'cat'][i >> 2]}`);
  }
  await writeFile(at('pairs.csv'), rows.join('\n'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** Sends a signal as soon as so many steps are done. */
function signalled(args: readonly string[], signal: NodeJS.Signals, step: number) {
  return beit3(args, {
    onStart: (child) => {
      let sent = false;
      child.stderr?.on('data', (text: string) => {
        if (sent || !text.includes(`step ${step}/`)) return;
        sent = true;
        child.kill(signal);
      });
    },
  });
}

test('a run that was ended and killed leaves the same as one that was not, for all that retrieves', async () => {
  const alone = await beit3(run('alone', '--epochs', '4', '--json'));
  assert.equal(alone.code, 0, alone.stderr);
  assert.match(alone.stderr, /step 1\/8 {2}loss \d\.\d+ {2}acc \d+\.\d% {2}logitScale 14\.\d+ {2}lr /);
  const model = at('alone', 'model.safetensors');
  const result = JSON.parse(alone.stdout) as Record<string, unknown>;
  assert.deepEqual([result.steps, result.interrupted, result.model], [8, false, model]);
  const stopped = await signalled(run('ended', '--epochs', '4'), 'SIGINT', 1);
  assert.equal(stopped.code, 130, stopped.stderr);
  assert.match(stopped.stderr, /Ended after step \d; go on with: beit3 itc --pairs /);
  const killed = await signalled(run('ended', '--epochs', '4'), 'SIGKILL', 5);
  assert.equal(killed.code, null);
  const last = await beit3(run('ended', '--epochs', '4'));
  assert.equal(last.code, 0, last.stderr);
  assert.match(last.stderr, /Resumed from .*checkpoint-\d\.safetensors, after step \d/);
  assert.match(last.stdout, /^After 8 steps: .*model\.safetensors\nNext: beit3 evaluate coco_retrieval /);
  const [one, other] = await Promise.all(['alone', 'ended'].map((name) => readFile(at(name, 'model.safetensors'))));
  assert.ok(one.equals(other));
  assert.deepEqual(await logOf(at('ended')), await logOf(at('alone')));

  const vectors = (await succeedJson('embed', at('1.png'), '--text', 'a dog', '--checkpoint', model)) as {
    shape: number[];
  };
  assert.deepEqual(vectors.shape, [1, 2, 32]);
  const data = await writeStandIn('coco_retrieval', at('coco'));
  const evaluated = await beit3(['evaluate', 'coco_retrieval', '--data', data, '--checkpoint', model, '--json']);
  assert.equal(evaluated.code, 0, evaluated.stderr);
  assert.match(evaluated.stdout, /"tr_r1":\d/);
});

test('recipes are listed, flags explained', async () => {
  assert.match(await succeed('itc', '--recipe', 'list'), /^paper +5 +0\.00003 +16,384 +0\.95 +0\.3 /m);
  const recipes = (await succeedJson('itc', '--recipe', 'list')) as { settings: { batchSize: number } }[];
  assert.equal(recipes[0].settings.batchSize, 16384);
  const help = await succeed('itc', '--help');
  assert.match(help, /^ {2}--layer-decay X .*Default: 0\.95\.$/m);
});

test('what cannot be is refused in one sentence', async () => {
  await refuse(/--output is missing/, 'itc', '--pairs', at('pairs.csv'));
  await refuse(/--checkpoint is missing/, 'itc', '--pairs', at('pairs.csv'), '--output', at('no'));
  await refuse(/--steps and --epochs contradict/, ...run('no', '--steps', '2', '--epochs', '1'));
  await refuse(/--layer-decay must be a number from 0\.01 to 1, got "2"/, ...run('no', '--layer-decay', '2'));
  await refuse(/There are 12 pairs and a step takes 6000/, ...run('no').map((word) => (word === '6' ? '6000' : word)));
});

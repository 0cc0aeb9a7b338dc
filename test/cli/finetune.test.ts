/** `beit3 finetune` in processes of its own: signals, kills, and what it prints and refuses. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { commandLine } from '../../cli/trainingLine.js';
import { beit3, refuse, succeed } from './command.js';
import { killedFinetuning, killLoop, tinyRun } from './killLoop.js';

let folder = '';
let run: (output: string) => string[] = () => [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-finetune-cli-'));
  run = await tinyRun(folder, '--workers', '0', '--epochs', '200', '--print-freq', '1', '--no-eval');
});
after(() => rm(folder, { recursive: true, force: true }));

/** Sends signals as soon as a step is done. */
function signalled(args: readonly string[], signals: readonly NodeJS.Signals[]) {
  return beit3(args, {
    onStart: (child) => {
      let sent = false;
      child.stderr?.on('data', (text: string) => {
        if (sent || !/step 1\//.test(text)) return;
        sent = true;
        for (const signal of signals) child.kill(signal);
      });
    },
  });
}

test('Ctrl-C finishes the step, saves, and says how to go on', async () => {
  const { code, stdout, stderr } = await signalled(run('stopped'), ['SIGINT']);
  assert.equal(code, 130, stderr);
  const [, step] = /Ended after step (\d+); go on with: beit3 finetune coco_retrieval --data /.exec(stderr) ?? [];
  assert.ok(Number(step) >= 1 && Number(step) < 100, stderr);
  assert.match(stdout, new RegExp(`^Training checkpoint: .*checkpoint-${step}\\.safetensors$`, 'm'));
  assert.deepEqual(
    (await readdir(join(folder, 'stopped'))).filter((name) => /checkpoint|tmp/.test(name)),
    [`checkpoint-${step}.safetensors`],
  );
  const again = await beit3([...run('stopped'), '--steps', String(Number(step) + 2), '--json']);
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stderr, new RegExp(`Resumed from .*checkpoint-${step}\\.safetensors, after step ${step}\\.`));
  const result = JSON.parse(again.stdout) as { task: string; steps: number; models: string[]; interrupted: boolean };
  assert.deepEqual([result.task, result.steps, result.interrupted], ['coco_retrieval', Number(step) + 2, false]);
  assert.deepEqual(result.models, [join(folder, 'stopped', 'model.safetensors')]);
});

test('SIGTERM ends with 143, and a second signal at once', async () => {
  const once = await signalled(run('terminated'), ['SIGTERM']);
  assert.equal(once.code, 143, once.stderr);
  assert.match(once.stderr, /Ended after step \d+; go on with/);
  const twice = await signalled(run('twice'), ['SIGTERM', 'SIGINT']);
  // Which of two that come together is seen first is not told.
  assert.ok(twice.code === 130 || twice.code === 143, twice.stderr);
  assert.doesNotMatch(twice.stderr, /Ended after step \d+/);
});

test('what the gpujs backend leaves to the processor is told in sentences', async () => {
  const { code, stderr } = await beit3([...run('gpujs'), '--steps', '1', '--device', 'gpujs']);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^The gpujs backend has no kernel for \w+ on [^\n]*; it runs as the reference does/m);
  assert.doesNotMatch(stderr, /AzulejoWarning|trace-warnings/);
});

test('killed at random moments, a run ends with the numbers of one that was left alone', async () => {
  const { kills } = await killLoop(folder, 3, await killedFinetuning(folder, 4));
  assert.ok(kills >= 2, `${kills} kills`);
});

test('recipes are listed, and flags explained in groups', async () => {
  const list = await succeed('finetune', '--recipe', 'list');
  assert.match(list, /^beit3_base_patch16_480_vqa +vqav2 +beit3_base_patch16_224\.pth +128 +0\.00003/m);
  const help = await succeed('finetune', '--help');
  for (const group of ['Files', 'Course', 'Model', 'Length', 'Optimisation', 'Pictures', 'Captions', 'Data', 'Flags'])
    assert.match(help, new RegExp(`^${group}:\n  --`, 'm'));
  for (const line of help.split('\n').slice(4)) assert.ok(line.length <= 130, line);
});

test('what cannot be is refused in one sentence', async () => {
  const output = join(folder, 'refused');
  const places = ['--data', join(folder, 'data'), '--output', output];
  await refuse(/the nearest is vqav2 \(of imagenet, /, 'finetune', 'vqa', ...places);
  await refuse(/needs --data/, 'finetune', 'nlvr2');
  await refuse(/needs --output/, 'finetune', 'nlvr2', '--data', folder);
  await refuse(/--lr must be a number from 0 to 1000, got "fast"/, 'finetune', 'nlvr2', ...places, '--lr', 'fast');
  await refuse(/--randaug and --no-randaug contradict/, 'finetune', 'nlvr2', ...places, '--randaug', '--no-randaug');
  await refuse(/--export must be one of safetensors, pth, both/, 'finetune', 'nlvr2', ...places, '--export', 'onnx');
  await refuse(
    /There is no recipe "beit3_base_vqa"; the nearest for vqav2 is/,
    'finetune',
    'vqav2',
    ...places,
    '--recipe',
    'beit3_base_vqa',
  );
  await refuse(/no flag --learning-rate; the nearest is/, 'finetune', 'nlvr2', ...places, '--learning-rate', '1');
  await refuse(/leave --amp out/, ...run('refused'), '--amp');
  await refuse(/refused\/none\.safetensors/, ...run('refused'), '--resume', join(output, 'none.safetensors'));
  await refuse(
    /is no training checkpoint/,
    ...run('refused'),
    '--resume',
    join(folder, 'stopped', 'model.safetensors'),
  );
});

test('a command is written so that it can be typed again', () => {
  assert.equal(
    commandLine(['finetune', 'nlvr2', '--data', "my photo's", '--resume', 'none', '--lr', '1e-4']),
    `beit3 finetune nlvr2 --data 'my photo'\\''s' --lr 1e-4`,
  );
  assert.equal(commandLine(['finetune', '--resume=a.safetensors', '--keep=3']), 'beit3 finetune --keep=3');
});

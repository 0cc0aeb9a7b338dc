/** `beit3 pretrain` in processes of its own: what it leaves, kills and signals, going on from weights, and what it refuses. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { readRecord } from '../../beit3/training/checkpoints.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import { writePhoto } from '../beit3/tinyModels.js';
import { beit3, refuse, succeed } from './command.js';
import { killLoop, logOf, TINY } from './killLoop.js';
import { type PretrainData, type PretrainFlags, pretrainRun, writePretrainData, writeTinyVqKd } from './pretrainRun.js';

let folder = '';
let data: PretrainData;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-pretrain-cli-'));
  await useBackend('wasm', { threads: 1 });
  data = await writePretrainData(folder);
  await writeTinyVqKd(join(folder, 'more-codes.safetensors'), 20);
  disposeBackend('wasm');
  await writeFile(join(folder, 'other.json'), JSON.stringify(TINY));
});
after(() => rm(folder, { recursive: true, force: true }));

type StepNumbers = Record<string, number>;

const run = (output: string, flags?: PretrainFlags): string[] => pretrainRun(data, join(folder, output), flags);

test('pretrains on pictures, texts and pairs, and leaves weights under the official names', async () => {
  const { code, stdout, stderr } = await beit3([...run('whole', { steps: '6', lr: '3e-3' }), '--json']);
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout) as Record<string, unknown>;
  const path = join(folder, 'whole', 'model.safetensors');
  assert.deepEqual([result.steps, result.interrupted, result.model], [6, false, path]);
  const log = (await logOf(join(folder, 'whole'))) as StepNumbers[];
  assert.deepEqual(
    log.map(({ step }) => step),
    [1, 2, 3, 4, 5, 6],
  );
  for (const numbers of log) {
    const losses = ['image', 'text', 'pairImage', 'pairText'].map((name) => numbers[name]);
    assert.ok(
      losses.every((loss) => loss > 0.5 && loss < 12),
      JSON.stringify(numbers),
    );
    const sum = losses.reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(numbers.loss - sum) < 1e-5 * sum && numbers.gradNorm > 0);
  }
  assert.ok(log[5].loss < log[0].loss, `${log[0].loss} to ${log[5].loss}`);
  const file = await openCheckpoint(path);
  try {
    const names = [...file.tensors.keys()];
    for (const name of ['mlm_head.weight', 'mim_head.bias', 'beit3.vision_embed.mask_token', 'beit3.text_embed.weight'])
      assert.ok(names.includes(name), name);
    assert.deepEqual([...(file.tensors.get('mim_head.weight')?.shape ?? [])], [16, 32]);
    assert.ok(names.every((name) => !/optimizer|^model\./.test(name)));
  } finally {
    await file.close();
  }
  assert.deepEqual(
    (await readdir(join(folder, 'whole'))).filter((name) => /tmp|spm/.test(name)),
    ['tiny.spm'],
  );
  const taken = join(folder, 'taken.safetensors');
  await succeed('convert', join(folder, 'whole', 'checkpoint-6.safetensors'), taken);
  assert.deepEqual(await tensorsOf(taken), await tensorsOf(path), 'weights of a training checkpoint');
  assert.match(await succeed('inspect', taken), /^ +img_size +32$/m);
});

test('goes on from pretrained weights and both heads, and takes other codes with a new head', async () => {
  const path = join(folder, 'whole', 'model.safetensors');
  const still = { steps: '1', lr: '0', 'min-lr': '0', 'warmup-steps': '0', checkpoint: path, config: undefined };
  const same = await beit3(run('same', still));
  assert.equal(same.code, 0, same.stderr);
  assert.doesNotMatch(same.stderr, /New, not in|fresh weights/);
  const [one, other] = await Promise.all([path, join(folder, 'same', 'model.safetensors')].map(tensorsOf));
  assert.deepEqual(other, one, 'a rate of 0 leaves all weights as they were');
  const more = await beit3(run('more', { ...still, 'image-tokenizer': join(folder, 'more-codes.safetensors') }));
  assert.equal(more.code, 0, more.stderr);
  assert.match(more.stderr, /^New, not in .* or of another size there: mim_head\.$/m);
});

test('killed at random moments, a run ends with the numbers of one that was left alone', async () => {
  const flags = { steps: '14', 'save-freq': '1', 'drop-path': '0.2', 'update-freq': '2', 'clip-grad': '1' };
  const { kills } = await killLoop(folder, 3, {
    run: (output) => run(output, flags),
    files: ['model.safetensors'],
    read: (path) => readRecord(path, (json) => assert.equal((json as { kind: string }).kind, 'pretrain')),
  });
  assert.ok(kills >= 2, `${kills} kills`);
});

test('Ctrl-C saves, tells how to go on, and other data or settings are refused then', async () => {
  const { code, stdout, stderr } = await beit3(run('stopped', { steps: '5000', 'print-freq': '1' }), {
    onStart: (child) => {
      let sent = false;
      child.stderr?.on('data', (text: string) => {
        if (sent || !/step 1\//.test(text)) return;
        sent = true;
        child.kill('SIGINT');
      });
    },
  });
  assert.equal(code, 130, stderr);
  assert.match(stderr, /Ended after step \d+; go on with: beit3 pretrain --images /);
  assert.match(stderr, /step 1\/5,000 {2}loss [\d.]+ {2}image [\d.]+ {2}imageAcc [\d.]+% /);
  assert.match(stdout, /^Training checkpoint: .*checkpoint-\d+\.safetensors$/m);
  const again = (flags: PretrainFlags) => run('stopped', { steps: '5000', ...flags });
  await refuse(/--image-mask 0\.4, not 0\.5, which would change the numbers/, ...again({ 'image-mask': '0.5' }));
  await refuse(/--mask-rule "80\/10\/10", not "100\/0\/0"/, ...again({ 'mask-rule': '100/0/0' }));
  const codes = join(folder, 'more-codes.safetensors');
  await refuse(/--image-tokenizer "vqkd.safetensors", not "more-codes/, ...again({ 'image-tokenizer': codes }));
});

test('one kind of data is enough; what is broken in it is named and passed over', async () => {
  const broken = join(folder, 'broken');
  await mkdir(broken);
  for (let i = 0; i < 4; i++) await writePhoto(join(broken, `${i}.png`), 60 * i, 10, 200);
  await writeFile(join(broken, 'x.png'), (await readFile(join(broken, '0.png'))).subarray(0, 60));
  const few = { steps: '3', texts: undefined, pairs: undefined, images: undefined };
  const images = await beit3(run('images-only', { ...few, images: broken, tokenizer: undefined, 'image-batch': '5' }));
  assert.equal(images.code, 0, images.stderr);
  assert.match(images.stderr, /^Skipped: .*x\.png/m);
  const texts = await beit3(run('texts-only', { ...few, texts: data.texts, 'image-tokenizer': undefined }));
  assert.equal(texts.code, 0, texts.stderr);
  const [first] = (await logOf(join(folder, 'texts-only'))) as StepNumbers[];
  assert.ok(first.text > 0 && first.image === undefined);
});

test('recipes are listed, with the numbers of the paper', async () => {
  const list = await succeed('pretrain', '--recipe', 'list');
  assert.match(list, /^paper +1,000,000 +0\.001 +2048\+2048\+2048 +0\.1 /m);
  assert.match(list, /^paper-giant /m);
  const help = await succeed('pretrain', '--help');
  for (const line of help.split('\n').slice(4)) assert.ok(line.length <= 130, line);
});

test('what cannot be is refused in one sentence', async () => {
  const refused = (pattern: RegExp, flags: PretrainFlags) => refuse(pattern, ...run('refused', flags));
  const none = { images: undefined, texts: undefined, pairs: undefined };
  await refused(/nothing to train on; give --images, --texts or --pairs/, none);
  await refused(/--output is missing/, { output: undefined });
  await refused(/Texts need a tokenizer/, { tokenizer: undefined });
  await refused(/Pictures need a visual tokenizer/, { 'image-tokenizer': undefined });
  await refused(/is no VQ-KD tokenizer/, { 'image-tokenizer': join(folder, 'whole/model.safetensors') });
  await refused(/4 x 4 patches of pictures of 32 pixels, the model 3 x 3 of 48/, {
    config: join(folder, 'other.json'),
  });
  await refused(/no recipe "papper"; the nearest is paper/, { recipe: 'papper' });
  await refused(/--mask-rule expects per cent/, { 'mask-rule': '80/20' });
  await refused(/--loss-weights expects 4 numbers/, { 'loss-weights': '1,1' });
  await refused(/--opt-betas expects 2 numbers/, { 'opt-betas': '0.9' });
  await refused(/The model takes 38 tokens of a text at most, got 100/, { 'text-length': '100' });
  await refused(/warm-up of 20 steps is longer than the run of [0-9]+; lower --warmup-steps/, {
    steps: '3',
    'warmup-steps': '20',
  });
  await refused(/none\.txt/, { texts: join(folder, 'none.txt') });
  await refused(/holds no texts by its name/, { texts: join(folder, 'images/0.png') });
  await refused(/--rank 2: expected 0 to 1, one of --world-size 2/, { rank: '2', 'world-size': '2' });
});

async function tensorsOf(path: string): Promise<Record<string, string>> {
  const file = await openCheckpoint(path);
  try {
    const found: Record<string, string> = {};
    for (const entry of file.tensors.values()) {
      const bytes = new Uint8Array(entry.byteLength);
      await entry.read(bytes);
      found[entry.name] = Buffer.from(bytes).toString('base64');
    }
    return found;
  } finally {
    await file.close();
  }
}

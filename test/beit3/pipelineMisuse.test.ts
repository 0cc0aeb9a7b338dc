/** Programs that use pipelines in ways they are not meant for: one sentence each, and no memory lost. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadBackend } from '../../backends/index.js';
import { type PipelineOptions, pipeline } from '../../beit3/pipeline/index.js';
import { readBytes } from '../../beit3/readBytes.js';
import { openCheckpoint, readFloat32, writePth } from '../../checkpoints/index.js';
import { inputError } from '../checkpoints/helpers.js';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from './tinyModels.js';

const device = 'reference';
let folder = '';
const at = (name: string): string => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-misuse-'));
  await writeTinyCheckpoint('imageclassification', at('classify.pth'));
  await writeTinyCheckpoint('captioning', at('caption.pth'));
  await writeTinyCheckpoint('retrieval', at('retrieval.pth'));
  await writeTinyCheckpoint('encoder_fused', at('encoder.pth'));
  await writeTinyTokenizer(at('beit3.spm'));
  await writePhoto(at('red.png'), 220, 30, 20);
});

after(() => rm(folder, { recursive: true, force: true }));

/** What a program without types may pass. */
const untyped = (value: unknown): never => value as never;

test('options that make no sense', async () => {
  const refuses = (options: Record<string, unknown>, pattern: RegExp) =>
    assert.rejects(
      pipeline('classify', { checkpoint: at('classify.pth'), device, ...options } as PipelineOptions),
      inputError(pattern),
    );
  await refuses({ checkpoint: 5 }, /^Expected a checkpoint as a path, a Blob or File, or bytes, got 5\.$/);
  await refuses({ checkpoint: '' }, /name of a checkpoint is empty/);
  await refuses({ checkpoint: 'http://localhost/a.pth' }, /download it first/);
  for (const imageSize of [-3, 33.5, 0, Number.NaN, '32', 1e9]) {
    await refuses({ imageSize }, /^The image size: expected img_size to be a whole number from 1 to 8192, got /);
  }
  await refuses({ imageSize: 3 }, /patch_size 8 is larger than img_size 3/);
  await refuses({ imageSize: 4096 }, /4096 pixels a side has 262144 patches of 8, more than 65536/);
  for (const threads of ['x', 0, 1.5, 1e6])
    await refuses({ threads }, /number of threads must be .* from 1 to 256, got/);
  await refuses({ labels: ['a'] }, /^The list of labels has 1 labels, but the model tells 11 classes apart/);
  await refuses({ config: 5 }, /The config is not a BEiT-3 config: expected a JSON object/);
});

test('a config that contradicts the checkpoint belongs to another model', async () => {
  const refuses = (config: Record<string, unknown>, pattern: RegExp) =>
    assert.rejects(pipeline('classify', { checkpoint: at('classify.pth'), config, device }), inputError(pattern));
  const heads = { encoder_attention_heads: 4 };
  await refuses(
    { ...heads, encoder_layers: 1 },
    /^The config says that encoder_layers is 1, but .*classify\.pth has 3;/,
  );
  await refuses({ ...heads, encoder_embed_dim: 64 }, /encoder_embed_dim is 64, but .* has 32/);
  await refuses({ ...heads, num_classes: 7 }, /num_classes is 7, but .* has 11/);
  await refuses({ ...heads, normalize_output: 'no' }, /expected normalize_output to be true or false, got "no"/);
  using same = await pipeline('classify', {
    checkpoint: at('classify.pth'),
    config: { ...heads, encoder_layers: 3, num_classes: 11, unknown: 'field' },
    device,
  });
  assert.equal((await same.run(at('red.png'))).length, 5);
});

test('inputs of other kinds', async () => {
  using classify = await pipeline('classify', { checkpoint: at('classify.pth'), device });
  for (const [image, got] of [
    [undefined, 'undefined'],
    [null, 'null'],
    [5, 'number'],
    [[at('red.png')], 'object'],
  ])
    await assert.rejects(
      classify.run(untyped(image)),
      inputError(new RegExp(`^Expected an image as .*, got ${got}\\.$`)),
    );
  await assert.rejects(classify.run(''), inputError(/^The name of an image is empty/));

  using retrieve = await pipeline('retrieve', { checkpoint: at('retrieval.pth'), device });
  const image = at('red.png');
  for (const search of [
    undefined,
    {},
    { text: 'a' },
    { text: 'a', images: image },
    { text: 'a', image, images: [image] },
  ])
    await assert.rejects(retrieve.run(untyped(search)), inputError(/^Expected \{ text, images/));

  const options = { checkpoint: at('encoder.pth'), device };
  using images = await pipeline('embed', { ...options, inputs: 'image' });
  await assert.rejects(images.run({ text: 'a' }), inputError(/was made for images alone/));
  await assert.rejects(images.run(untyped(undefined)), inputError(/nothing to embed/));
  using texts = await pipeline('embed', { ...options, inputs: 'text' });
  await assert.rejects(texts.run({ image }), inputError(/was made for texts alone/));
  await assert.rejects(pipeline('embed', untyped({ ...options, inputs: 'pics' })), inputError(/got pics\.$/));
});

test('a pipeline that is gone says so, even to a run that has begun', async () => {
  const { stats } = await loadBackend(device);
  const before = stats.liveBytes;
  const classify = await pipeline('classify', { checkpoint: at('classify.pth'), device });
  const running = classify.run(at('red.png'));
  classify.dispose();
  classify.dispose();
  const gone = inputError(/^This pipeline was disposed; make a new one/);
  await assert.rejects(running, gone);
  await assert.rejects(classify.run(at('red.png')), gone);
  assert.equal(stats.liveBytes, before);
});

test('runs and pipelines at the same time do not disturb each other', async () => {
  using classify = await pipeline('classify', { checkpoint: at('classify.pth'), device });
  using caption = await pipeline('caption', { checkpoint: at('caption.pth'), device });
  const all = () => [classify.run(at('red.png')), caption.run(at('red.png')), caption.run(at('red.png'), { beams: 1 })];
  const together = await Promise.all(all());
  const apart: unknown[] = [];
  for (const run of [0, 1, 2]) apart.push(await all()[run]);
  assert.deepEqual(together, apart);
});

test('weights that are not numbers are no answer', async () => {
  for (const [task, name] of [
    ['classify', 'classify.pth'],
    ['caption', 'caption.pth'],
  ] as const) {
    const good = await openCheckpoint(at(name));
    const broken = await Promise.all(
      Array.from(good.tensors.values(), async (entry) => ({
        name: entry.name,
        dtype: 'float32' as const,
        shape: entry.shape,
        data: (await readFloat32(entry)).fill(Number.NaN),
      })),
    );
    await writePth(at('nan.pth'), broken, { extra: good.extra });
    await good.close();
    using model = await pipeline(task, { checkpoint: at('nan.pth'), device });
    await assert.rejects(model.run(at('red.png')), inputError(/numbers that are not finite: the weights/));
  }
});

test('a pipe is read when its writer comes', { skip: process.platform === 'win32' }, async () => {
  execFileSync('mkfifo', [at('pipe')]);
  const reading = readBytes(at('pipe'), { what: 'an image', maxBytes: 1 << 20 });
  const bytes = await readFile(at('red.png'));
  await writeFile(at('pipe'), bytes);
  assert.deepEqual(Buffer.from(await reading), bytes);
});

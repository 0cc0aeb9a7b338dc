/** BEiT and BEiT v2 by the command line: pretrained on masked pictures, fine-tuned, measured, inspected. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { useBackend } from '../../backends/index.js';
import { writableTensors } from '../../beit3/checkpoint.js';
import { makeIndex } from '../../beit3/data/index/index.js';
import { exportWeights } from '../../beit3/training/export.js';
import { describeVqKd, parseVqKdConfig } from '../../beit3/vqkd/config.js';
import { VqKd } from '../../beit3/vqkd/vqkd.js';
import { scope } from '../../core/memory.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';
import { writePicture } from '../beit3/standIns.js';
import { writeTinyCheckpoint } from '../beit3/tinyModels.js';
import { beit3, refuse, succeed, succeedJson } from './command.js';

let folder = '';
let tokenizer = '';
const at = (...names: string[]): string => join(folder, ...names);

before(async () => {
  await useBackend('wasm', { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'azulejo-beit-cli-'));
  for (const split of ['train', 'val'])
    for (let i = 0; i < 12; i++) {
      const place = at('pictures', split, `class${i % 3}`);
      await mkdir(place, { recursive: true });
      await writePicture(join(place, `${i}.png`), i % 3);
    }
  await makeIndex('imagenet', { data: at('pictures') });
  const sizes = { img_size: 16, patch_size: 4, embed_dim: 16, num_heads: 2, encoder_depth: 1 };
  const config = parseVqKdConfig({ ...sizes, n_code: 12, code_dim: 4, decoder_out_dim: 8 }, 'the test');
  const model = new VqKd(new Builder({ generator: new Generator(5) }), config);
  scope(() =>
    model.quantize.begin(
      model.project(tensor(new Generator(9).normal(32 * 3 * 256), { shape: [32, 3, 16, 16] })),
      new Generator(3),
    ),
  );
  const tensors = writableTensors(model.namedTensors());
  [tokenizer] = await exportWeights(at('tokenizer'), 'safetensors', tensors, describeVqKd(config));
  await writeFile(at('sizes.json'), JSON.stringify({ ...sizes, encoder_depth: undefined, depth: 3 }));
});
after(() => rm(folder, { recursive: true, force: true }));

/** Runs a command that trains, which tells of its course on stderr; gives its JSON. */
async function train(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await beit3([...args, '--json']);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as unknown;
}

test('pretrains, fine-tunes from the export, measures and inspects', async () => {
  const pretrained = (await train(
    ...['mim', '--images', at('pictures', 'train'), '--image-tokenizer', tokenizer, '--output', at('mim')],
    ...['--config', at('sizes.json'), '--steps', '3', '--warmup-steps', '0', '--image-batch', '4', '--workers', '0'],
    ...['--early-layers', '2', '--head-layers', '1', '--min-block', '2', '--log-dir', 'none', '--device', 'wasm'],
  )) as { steps: number; model: string };
  assert.deepEqual([pretrained.steps, pretrained.model], [3, at('mim', 'model.safetensors')]);
  const inspected = (await succeedJson('inspect', pretrained.model)) as Record<string, unknown>;
  assert.deepEqual([inspected.family, inspected.task], ['BEiT v2', 'masked image modelling']);
  assert.deepEqual([inspected.unused, inspected.problem], [[], undefined]);
  assert.equal((inspected.config as { early_layers: number }).early_layers, 2);
  await refuse(/pretrained and tells no classes apart/, 'classify', somePicture(), '--checkpoint', pretrained.model);

  const run = [
    ...['finetune', 'imagenet', '--data', at('pictures'), '--batch-size', '4', '--epochs', '1', '--workers', '0'],
    ...['--warmup-epochs', '0', '--log-dir', 'none', '--checkpoint', pretrained.model, '--device', 'wasm'],
  ];
  await train(...run, '--output', at('tuned'), '--lr', '1e-3');
  const probe = (await train(...run, '--output', at('probe'), '--linear-probe', '--probe-layer', '1')) as {
    models: string[];
  };
  assert.deepEqual(probe.models, [at('probe', 'model.safetensors')]);
  const probed = await succeed('classify', somePicture(), '--checkpoint', probe.models[0]);
  assert.equal(probed.trim().split('\n').length, 3);
  const probeInside = (await succeedJson('inspect', probe.models[0])) as Record<string, unknown>;
  assert.deepEqual([probeInside.unused, probeInside.problem], [[], undefined]);
  const tuned = at('tuned', 'model.safetensors');
  const report = (await succeedJson(
    ...['evaluate', 'imagenet', '--data', at('pictures'), '--split', 'val', '--checkpoint', tuned, '--workers', '0'],
  )) as { samples: number; metrics: { acc1: number } };
  assert.equal(report.samples, 12);
  assert.ok(report.metrics.acc1 >= 0);
  const classes = await succeed('classify', somePicture(), '--checkpoint', tuned);
  assert.equal(classes.trim().split('\n').length, 3);
  const tunedInside = await succeed('inspect', tuned);
  assert.match(tunedInside, /^family +BEiT or BEiT v2$/m);
  assert.match(tunedInside, /^task +imageclassification \(3 classes\)$/m);
  await refuse(/evaluate it on imagenet/, 'evaluate', 'nlvr2', '--data', folder, '--checkpoint', tuned);
});

/** A picture of the training data. */
function somePicture(): string {
  return at('pictures', 'val', 'class0', '0.png');
}

test('official names are counted, and checkpoints of the reference told', async () => {
  const large = (await succeedJson('inspect', 'beitv2_large_patch16_224')) as { parameters: { total: number } };
  assert.equal(large.parameters.total, 304_430_568);
  assert.match(await succeed('inspect', '--models'), /^beit_base_patch16_384$/m);
  const dump = await writeTinyCheckpoint('beit_classification', at('dump.pth'));
  const found = (await succeedJson('inspect', dump)) as { numClasses: number; parameters: { branches: object } };
  assert.equal(found.numClasses, 13);
  assert.deepEqual(Object.keys(found.parameters.branches).sort(), [
    'embeddings',
    'head',
    'layers',
    'relative positions',
  ]);
});

test('what the name of an official file tells goes into a converted one', async () => {
  const official = await writeTinyCheckpoint('beit_classification', at('beitv2_tiny_pt1k_ft1k.pth'), false);
  for (const name of ['mine.safetensors', 'mine.pth']) {
    await succeed('convert', official, at(name));
    const { config } = (await succeedJson('inspect', at(name))) as { config: { normalization: string } };
    assert.equal(config.normalization, 'imagenet', name);
  }
});

test('what cannot be is refused in one sentence', async () => {
  const places = ['--images', at('pictures', 'train'), '--image-tokenizer', tokenizer, '--output', at('refused')];
  await refuse(/--image-tokenizer is missing/, 'mim', '--images', folder, '--output', at('refused'));
  await refuse(/--images is missing/, 'mim', '--image-tokenizer', tokenizer, '--output', at('refused'));
  await refuse(/the nearest is beitv2-large/, 'mim', ...places, '--recipe', 'beitv2-larg');
  await refuse(/--early-layers must be a whole number/, 'mim', ...places, '--early-layers', '1.5');
  await refuse(/--normalization must be one of imagenet, inception/, 'mim', ...places, '--normalization', 'x');
  await refuse(/sees 4 x 4 patches/, 'mim', ...places, '--recipe', 'tiny');
  assert.match(await succeed('mim', '--recipe', 'list'), /^beitv2-base-300e +187,500 +0\.0015 +2048 +0 +9 /m);
});

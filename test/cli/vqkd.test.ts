import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { shippedModel } from '../../beit3/zoo/shipped.js';
import { parseNpy } from '../../checkpoints/index.js';
import { writePhoto } from '../beit3/tinyModels.js';
import { fixture } from '../checkpoints/helpers.js';
import { beit3, refuse, succeed, succeedJson } from './command.js';

const TOKENIZER = fixture('vqkd/training.pth');
const HERE = ['--device', 'wasm', '--threads', '1'];

describe('vqkd', () => {
  let folder = '';
  let teacher = '';
  const at = (name: string): string => join(folder, name);
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azulejo-vqkd-cli-'));
    teacher = (await shippedModel()).checkpoint;
    await mkdir(at('photos'));
    for (let i = 0; i < 6; i++) await writePhoto(at(`photos/${i}.png`), 40 * i, 255 - 40 * i, (97 * i) % 256);
    const sizes = { embed_dim: 32, num_heads: 2, encoder_depth: 1, n_code: 24, code_dim: 8 };
    await writeFile(at('sizes.json'), JSON.stringify(sizes));
    await writeFile(at('small.json'), JSON.stringify({ ...sizes, img_size: 16 }));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const training = (output: string, ...more: string[]): string[] => [
    ...['vqkd', 'train', '--images', at('photos'), '--output', at(output), '--recipe', 'tiny'],
    ...['--config', at('sizes.json'), '--batch', '6', '--warmup-steps', '2', '--workers', '0', ...HERE, ...more],
  ];

  it('tells what each of its commands does', async () => {
    const help = await succeed('vqkd', '--help');
    assert.match(help, /^Usage: beit3 vqkd COMMAND/);
    await Promise.all(
      ['train', 'features', 'encode', 'inspect'].map(async (name) => {
        assert.match(help, new RegExp(`^  ${name} +\\w`, 'm'));
        const own = await succeed('vqkd', name, '--help');
        assert.match(own, new RegExp(`^Usage: beit3 vqkd ${name} `));
        assert.equal(await succeed('help', 'vqkd', name), own);
      }),
    );
    assert.equal(await succeed('vqkd'), help);
    assert.match(
      await succeed('vqkd', 'train', '--recipe', 'list'),
      /^vqkd_encoder_base_decoder_3x768x12_clip +250,200/m,
    );
    await Promise.all([
      refuse(/beit3 vqkd has no command "tran"; the nearest is train/, 'vqkd', 'tran'),
      refuse(/expected beit3 vqkd COMMAND \.\.\. --recipe/, 'vqkd', '--recipe', 'list'),
      refuse(/beit3 vqkd train has no flag --image; the nearest is --images/, 'vqkd', 'train', '--image', 'x'),
    ]);
  });

  it('trains, and goes on after kill -9 to the same tokenizer', async () => {
    const options = [
      '--teacher',
      teacher,
      '--steps',
      '12',
      '--save-freq',
      '2',
      '--log-dir',
      'none',
      '--restart-dead=no',
    ];
    const whole = await beit3([...training('whole', ...options), '--json']);
    assert.equal(whole.code, 0, whole.stderr);
    const { steps, model } = JSON.parse(whole.stdout) as { steps: number; model: string };
    assert.deepEqual([steps, model], [12, at('whole/model.safetensors')]);
    assert.match(whole.stderr, /Learning from .*: BEiT-3, features of width 160, 4 x 4 patches/);
    assert.match(whole.stderr, /step 10\/12 .* reconstruction \S+ .* use \d+\.\d% +perplexity/);
    const killed = await beit3(training('parts', ...options), {
      onStart: (child) => {
        const watch = setInterval(() => {
          if (!existsSync(at('parts/checkpoint-4.safetensors'))) return;
          clearInterval(watch);
          child.kill('SIGKILL');
        }, 5);
        child.on('exit', () => clearInterval(watch));
      },
    });
    assert.equal(killed.code, null);
    assert.equal(existsSync(at('parts/model.safetensors')), false);
    const rest = await beit3(training('parts', ...options));
    assert.equal(rest.code, 0, rest.stderr);
    assert.match(rest.stderr, /Resumed from .*checkpoint-\d+\.safetensors, after step \d/);
    assert.match(rest.stdout, /After 12 steps: .*\nNext: beit3 pretrain --image-tokenizer/);
    assert.deepEqual(await readFile(at('parts/model.safetensors')), await readFile(at('whole/model.safetensors')));
    // A run that is still under way can be tried out.
    await succeed('convert', at('whole/checkpoint-12.safetensors'), at('taken.pth'));
    assert.match(await succeed('vqkd', 'inspect', at('taken.pth')), /codes +24 of width 8/);
    const told = (await succeedJson('vqkd', 'inspect', model, '--images', at('photos'), ...HERE)) as {
      config: { num_heads: number; decoder_out_dim: number };
      codebook: { codes: number; perplexity: number };
      usage: { pictures: number; patches: number; use: number };
    };
    assert.deepEqual([told.config.num_heads, told.config.decoder_out_dim, told.codebook.codes], [2, 160, 24]);
    assert.deepEqual([told.usage.pictures, told.usage.patches], [6, 96]);
    assert.ok(told.codebook.perplexity > 1 && told.usage.use > 0);
  });

  it('writes features, and trains from them', async () => {
    const output = ['--output', at('features.safetensors')];
    const written = (await succeedJson(
      ...['vqkd', 'features', '--images', at('photos'), '--teacher', teacher, '--grid', '4', ...output, ...HERE],
      ...['--dtype', 'float16', '--workers', '0'],
    )) as { pictures: number; broken: number; shape: number[] };
    assert.deepEqual([written.pictures, written.broken, written.shape], [6, 0, [16, 160]]);
    const trained = await beit3(training('taught', '--features', at('features.safetensors'), '--steps', '3'));
    assert.equal(trained.code, 0, trained.stderr);
    assert.ok((await readdir(at('taught'))).includes('model.safetensors'));
    await refuse(
      /of 4 x 4 patches of pictures of 32 pixels, the tokenizer of 2 x 2 of 16/,
      ...training('wrong', '--features', at('features.safetensors')).map((word) =>
        word === at('sizes.json') ? at('small.json') : word,
      ),
    );
  });

  it('encodes pictures, to print or to write', async () => {
    const images = [at('photos/1.png'), at('photos/4.png')];
    const { shape, results } = (await succeedJson('vqkd', 'encode', ...images, '--tokenizer', TOKENIZER, ...HERE)) as {
      shape: number[];
      results: { image: string; codes: number[][] }[];
    };
    assert.deepEqual(shape, [2, 4, 4]);
    assert.deepEqual(
      results.map(({ image }) => image),
      images,
    );
    const text = await succeed('vqkd', 'encode', images[1], '--tokenizer', TOKENIZER, ...HERE);
    const rows = text.trimEnd().split('\n');
    assert.deepEqual(
      rows.map((row) => row.trim().split(/ +/).map(Number)),
      results[1].codes,
    );
    const output = at('codes.npy');
    await succeed('vqkd', 'encode', at('photos'), '--tokenizer', TOKENIZER, '--output', output, ...HERE);
    const array = parseNpy(new Uint8Array(await readFile(output)));
    assert.deepEqual(array.shape, [6, 4, 4]);
    assert.deepEqual([...array.data.subarray(16, 32)], results[0].codes.flat());
  });

  it('inspects, and beit3 inspect points there', async () => {
    const text = await succeed('vqkd', 'inspect', TOKENIZER);
    assert.match(text, /codes +20 of width 6/);
    assert.match(text, /alive +\d+\.\d% \(\d+ dead\)/);
    const { problem } = (await succeedJson('inspect', TOKENIZER)) as { problem: string };
    assert.match(problem, /it is a visual tokenizer; see beit3 vqkd inspect/);
  });

  it('refuses what makes no sense in one sentence', async () => {
    const photo = at('photos/0.png');
    const pictures = ['--images', at('photos')];
    const encode = (...more: string[]) => ['vqkd', 'encode', photo, ...more];
    const features = (...more: string[]) => ['vqkd', 'features', ...pictures, ...more];
    await Promise.all([
      refuse(/--output is missing/, 'vqkd', 'train', ...pictures, '--teacher', teacher),
      refuse(/give either its checkpoint with --teacher/, ...training('none')),
      refuse(/is no teacher/, ...training('none', '--teacher', fixture('formats/zip.pth'))),
      refuse(/--restart-dead must be one of/, ...training('none', '--teacher', teacher, '--restart-dead=maybe')),
      refuse(/--tokenizer is missing/, ...encode()),
      refuse(/is no VQ-KD tokenizer/, ...encode('--tokenizer', teacher)),
      refuse(/ends in \.npy or \.json/, ...encode('--tokenizer', TOKENIZER, '--output', 'a.txt')),
      refuse(/is no VQ-KD tokenizer/, 'vqkd', 'inspect', teacher),
      refuse(/--teacher is missing/, ...features('--output', at('f.safetensors'))),
      refuse(/ends in \.safetensors/, ...features('--teacher', teacher, '--output', at('f.npy'))),
      refuse(
        /sees 2 x 2 patches of 16 pixels/,
        ...features('--teacher', teacher, '--grid', '3', '--output', at('f.safetensors')),
      ),
    ]);
    assert.equal(existsSync(at('none/model.safetensors')), false);
  });
});

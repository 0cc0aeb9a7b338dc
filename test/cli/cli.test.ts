import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MODELS } from '../../beit3/config.js';
import { BEIT_MODELS } from '../../beit3/vit/models.js';
import { openCheckpoint, parseNpy, WEIGHTS } from '../../checkpoints/index.js';
import { COMMANDS } from '../../cli/commands/index.js';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from '../beit3/tinyModels.js';
import { fixture } from '../checkpoints/helpers.js';
import { ADAPTER } from '../support/gpu.js';
import { beit3, succeed, succeedJson } from './command.js';

let folder = '';
const at = (name: string): string => join(folder, name);
const HERE = ['--device', 'reference'];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-cli-'));
  await writeTinyCheckpoint('imageclassification', at('classify.pth'));
  for (const name of ['vqav2', 'nlvr2', 'captioning', 'retrieval'])
    await writeTinyCheckpoint(name, at(`${name}.safetensors`));
  await writeTinyTokenizer(at('beit3.spm'));
  await writePhoto(at('red.png'), 220, 30, 20);
  await writePhoto(at('blue.png'), 20, 40, 230);
  await writeFile(at('labels.txt'), Array.from({ length: 11 }, (_, i) => `thing ${i}`).join('\n'));
});

after(() => rm(folder, { recursive: true, force: true }));

describe('help', () => {
  test('the overview names every command, and each explains itself', async () => {
    const overview = await succeed('--help');
    for (const name of COMMANDS.keys()) assert.match(overview, new RegExp(`^  ${name} +\\w`, 'm'));
    await Promise.all(
      Array.from(COMMANDS.keys(), async (name) => {
        const help = await succeed(name, '--help');
        assert.match(help, new RegExp(`^Usage: beit3 ${name}`));
        for (const flag of ['json', 'device NAME', 'threads N', 'help'])
          assert.ok(help.includes(`\n  --${flag} `), `${name}: --${flag}`);
        assert.match(help, new RegExp(`\nExamples?:\n  beit3 ${name} `));
        for (const line of help.split('\n')) assert.ok(line.length <= 160);
      }),
    );
    assert.equal(await succeed('help', 'classify'), await succeed('classify', '-h'));
    const { version } = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    assert.equal(await succeed('--version'), `${version}\n`);
  });
});

describe('models', () => {
  test('classify prints classes, with names where labels are given', async () => {
    const checkpoint = ['--checkpoint', at('classify.pth'), ...HERE];
    const found = (await succeedJson('classify', at('red.png'), at('blue.png'), '--top', '3', ...checkpoint)) as {
      results: { image: string; classes: { index: number; label: string; probability: number }[] }[];
    };
    assert.deepEqual(
      found.results.map((r) => r.image),
      [at('red.png'), at('blue.png')],
    );
    const [first] = found.results[0].classes;
    assert.equal(found.results[0].classes.length, 3);
    assert.equal(first.label, String(first.index));
    const text = await succeed('classify', at('red.png'), '--labels', at('labels.txt'), '--top=1', ...checkpoint);
    assert.equal(text, `${(first.probability * 100).toFixed(2)}%  thing ${first.index}\n`);
  });

  test('vqa, nlvr2 and caption answer', async () => {
    const vqa = (await succeedJson(
      'vqa',
      at('red.png'),
      'how many cups?',
      '--checkpoint',
      at('vqav2.safetensors'),
      ...HERE,
    )) as {
      question: string;
      answers: { index: number; answer: string; score: number }[];
    };
    assert.equal(vqa.question, 'how many cups?');
    assert.equal(vqa.answers.length, 5);
    assert.deepEqual(Object.keys(vqa.answers[0]), ['index', 'answer', 'score']);
    const nlvr2 = (await succeedJson(
      'nlvr2',
      at('red.png'),
      at('blue.png'),
      'a bird',
      '--checkpoint',
      at('nlvr2.safetensors'),
      ...HERE,
    )) as {
      answer: boolean;
      probability: number;
    };
    assert.equal(nlvr2.answer, nlvr2.probability > 0.5);
    const caption = (await succeedJson(
      ...['caption', at('red.png'), '--checkpoint', at('captioning.safetensors'), '--beams', '2', '--max-length', '6'],
      ...['--length-penalty', '-0.5', ...HERE],
    )) as { results: { image: string; text: string; score: number; ids: number[] }[] };
    assert.equal(caption.results[0].image, at('red.png'));
    assert.ok(caption.results[0].ids.length <= 4);
    assert.equal(typeof caption.results[0].text, 'string');
  });

  test('retrieve ranks both ways, and takes folders', async () => {
    const options = ['--checkpoint', at('retrieval.safetensors'), ...HERE];
    const images = (await succeedJson('retrieve', 'a red panda', folder, ...options)) as {
      text: string;
      results: { image: string; similarity: number }[];
    };
    assert.equal(images.text, 'a red panda');
    assert.deepEqual(images.results.map((r) => r.image).sort(), [at('blue.png'), at('red.png')]);
    const texts = (await succeedJson(
      'retrieve',
      '--image',
      images.results[0].image,
      'a red panda',
      'a bird',
      ...options,
    )) as {
      results: { text: string; similarity: number }[];
    };
    const same = texts.results.find((r) => r.text === 'a red panda');
    assert.ok(Math.abs((same?.similarity ?? 9) - images.results[0].similarity) < 1e-5);
    const best = await succeed('retrieve', 'a red panda', folder, '--top', '1', ...options);
    assert.equal(best, `${images.results[0].similarity.toFixed(4)}  ${images.results[0].image}\n`);
  });

  test('embed writes .npy and JSON', async () => {
    const options = ['--checkpoint', at('retrieval.safetensors'), ...HERE];
    const json = (await succeedJson('embed', at('red.png'), at('blue.png'), ...options)) as {
      shape: number[];
      results: { vector: number[] }[];
    };
    assert.deepEqual(json.shape, [2, 32]);
    await succeed('embed', at('red.png'), at('blue.png'), '--output', at('v.npy'), ...options);
    const { shape, data } = parseNpy(await readFile(at('v.npy')));
    assert.deepEqual(shape, [2, 32]);
    assert.deepEqual(
      Array.from(data),
      json.results.flatMap((r) => r.vector),
    );
    await succeed('embed', at('red.png'), '--text', 'a cat', '--output', at('pair.json'), ...options);
    const pair = JSON.parse(await readFile(at('pair.json'), 'utf8')) as {
      shape: number[];
      results: { imageVector: number[]; textVector: number[] }[];
    };
    assert.deepEqual(pair.shape, [1, 2, 32]);
    assert.deepEqual(pair.results[0].imageVector, json.results[0].vector);
    const text = (await succeedJson('embed', '--text', 'a cat', ...options)) as typeof json;
    assert.deepEqual(text.results[0].vector, pair.results[0].textVector);
  });

  test('the default device answers as the reference does', async () => {
    const command = ['classify', at('red.png'), '--checkpoint', at('classify.pth')];
    type Found = { results: { classes: { index: number; probability: number }[] }[] };
    const fast = (await succeedJson(...command, '--threads', '2')) as Found;
    const exact = (await succeedJson(...command, ...HERE)) as Found;
    assert.deepEqual(
      fast.results[0].classes.map((c) => [c.index, c.probability.toFixed(4)]),
      exact.results[0].classes.map((c) => [c.index, c.probability.toFixed(4)]),
    );
  });
});

describe('tools', () => {
  test('tokenize gives pieces and ids, special ones on demand', async () => {
    const cases = JSON.parse(await readFile(fixture('tokenizer_cases.json'), 'utf8')) as {
      cases: { text: string; pieces: string[]; ids: number[] }[];
    };
    const { text, pieces, ids } = cases.cases.find((c) => c.ids.length > 3 && !c.text.includes('\0')) ?? cases.cases[0];
    const options = ['--tokenizer', fixture('tokenizer.spm'), '--', text];
    const found = JSON.parse(await succeed('tokenize', '--json', ...options)) as object;
    assert.deepEqual(found, { text, pieces, ids });
    assert.deepEqual(Object.keys(found), ['text', 'pieces', 'ids']);
    const special = JSON.parse(await succeed('tokenize', '--json', '--special', ...options)) as { ids: number[] };
    assert.deepEqual(special.ids, [0, ...ids, 2]);
  });

  test('inspect counts official models without making them', async () => {
    const base = (await succeedJson('inspect', 'beit3_base_patch16_224_imageclassification')) as {
      parameters: { total: number; used: number; branches: Record<string, number> };
      tensors: { name: string; shape: number[] }[];
      config: { encoder_embed_dim: number };
    };
    assert.deepEqual([base.parameters.total, base.parameters.used], [221_754_856, 86_662_120]);
    assert.equal(
      Object.values(base.parameters.branches).reduce((a, b) => a + b),
      base.parameters.total,
    );
    assert.equal(base.config.encoder_embed_dim, 768);
    assert.ok(base.tensors.some((t) => t.name === 'beit3.encoder.layers.11.ffn.A.fc2.weight' && t.shape[1] === 3072));
    const names = await succeed('inspect', '--models');
    assert.deepEqual(names.trim().split('\n'), [...MODELS.keys(), ...BEIT_MODELS.keys()]);
  });

  test('inspect tells what a checkpoint is, and when it is none of ours', async () => {
    const found = (await succeedJson('inspect', at('classify.pth'))) as {
      format: string;
      task: string;
      numClasses: number;
      unused: string[];
      dtypes: object;
    };
    assert.deepEqual([found.format, found.task, found.numClasses], ['pth-zip', 'imageclassification', 11]);
    assert.ok(found.unused.includes('beit3.text_embed.weight'));
    const text = await succeed('inspect', at('classify.pth'), '--tensors');
    assert.match(text, /^used by the task +\d/m);
    assert.match(text, /^head\.weight +float32 +\[11, 32\]$/m);
    const other = (await succeedJson('inspect', fixture('formats/zip.pth'))) as { task: null; problem: string };
    assert.equal(other.task, null);
    assert.match(other.problem, /is not a BEiT-3 checkpoint/);
  });

  test('convert keeps every tensor, there and back', async () => {
    await succeed('convert', at('classify.pth'), at('a.safetensors'));
    const back = await succeedJson('convert', at('a.safetensors'), at('b.pth'));
    assert.deepEqual(Object.keys(back as object), ['input', 'output', 'tensors', 'bytes', 'dtype', 'leftOut']);
    await succeed('convert', at('b.pth'), at('half.safetensors'), '--dtype', 'float16');
    const [first, last, half] = await Promise.all(
      ['classify.pth', 'b.pth', 'half.safetensors'].map((name) => openCheckpoint(at(name))),
    );
    assert.deepEqual([...last.tensors.keys()].sort(), [...first.tensors.keys()].sort());
    for (const [name, entry] of first.tensors) {
      assert.deepEqual(await last.tensors.get(name)?.read(), await entry.read(), name);
      assert.equal(half.tensors.get(name)?.dtype, 'float16');
    }
    assert.equal(last.extra.config, first.extra.config);
    assert.equal(half.metadata.config, first.extra.config);
    await Promise.all([first, last, half].map((file) => file.close()));
    const classes = async (file: string) =>
      (
        (await succeedJson('classify', at('red.png'), '--checkpoint', at(file), ...HERE)) as {
          results: { classes: { index: number }[] }[];
        }
      ).results[0].classes.map((c) => c.index);
    assert.deepEqual(await classes('half.safetensors'), await classes('classify.pth'));
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.endsWith('.tmp')),
      [],
    );
  });

  test('convert says what a .safetensors file cannot hold', async () => {
    const { code, stderr } = await beit3(['convert', fixture('formats/training.pth'), at('t.safetensors')]);
    assert.equal(code, 0);
    assert.match(stderr, /^Left out, [^\n]*optimizer[^\n]*\n$/);
  });

  test('pull lists the official names', async () => {
    assert.deepEqual(
      (await succeed('pull', '--list')).trim().split('\n'),
      WEIGHTS.map((w) => w.name),
    );
    assert.deepEqual(await succeedJson('pull', '--list'), { weights: WEIGHTS });
  });

  test('devices lists every backend', async () => {
    const found = (await succeedJson('devices')) as {
      devices: { name: string; auto: boolean; dtypes: string[]; error?: string; details?: { adapter?: string } }[];
      machine: { simd: boolean; threads: number };
    };
    assert.deepEqual(
      found.devices.map((d) => d.name),
      ['wasm', 'webgpu', 'gpujs', 'reference'],
    );
    assert.equal(found.machine.simd, true);
    assert.equal(found.devices.filter((d) => d.auto).length, 1);
    // What can't be had here says why.
    assert.ok(found.devices.every((d) => d.dtypes.includes('float32') !== (d.error !== undefined)));
  });

  test('devices names the GPU that is asked for; a missing one is told in a sentence', async (t) => {
    const { devices } = (await succeedJson('devices', '--adapter', ADAPTER)) as {
      devices: { name: string; error?: string; details?: { adapter: string; largestTensorMB: number } }[];
    };
    const gpu = devices.find((d) => d.name === 'webgpu');
    const other = await beit3(['classify', at('red.png'), '--adapter', 'no such card']);
    assert.equal(other.code, 2);
    assert.match(other.stderr, /(There is no GPU adapter named no such card|No GPU was found)[^\n]*\.\n$/);
    if (gpu?.error !== undefined) return t.skip(gpu.error);
    assert.ok(gpu?.details && gpu.details.adapter.length > 0 && gpu.details.largestTensorMB >= 128);
  });

  test('SwiftShader is not loaded from a folder that others can write to', async (t) => {
    if (ADAPTER !== 'swiftshader') return t.skip('another adapter is tested');
    await mkdir(at('temporary'));
    const asked = async () => {
      const { stdout } = await beit3(['devices', '--adapter', ADAPTER, '--json'], { env: { TMPDIR: at('temporary') } });
      const { devices } = JSON.parse(stdout) as { devices: { name: string; error?: string }[] };
      return devices.find((d) => d.name === 'webgpu')?.error;
    };
    const error = await asked();
    if (error !== undefined) return t.skip(error);
    const [unpacked] = await readdir(at('temporary'));
    await chmod(join(at('temporary'), unpacked), 0o777);
    assert.match((await asked()) ?? '', /^Others can write to .*swiftshader.*; delete it\.$/);
  });
});

describe('parity', () => {
  const dump = fixture('parity/encoder_vision.safetensors');

  test('prints errors worst first and says whether all hold', async () => {
    const text = await succeed('parity', dump, ...HERE);
    assert.match(text, /^ok {3}.*encoder on reference\n {2}ok {2}\w+\/.* max .* rel /);
    assert.match(text, /All 1 hold\.\n$/);
    type Numbers = Record<string, { maxAbs: number; relNorm: number }>;
    const json = (await succeedJson('parity', dump, ...HERE)) as {
      ok: boolean;
      cases: {
        file: string;
        task: string;
        device: string;
        ok: boolean;
        outputs: Numbers;
        hidden: Numbers;
        grads: Numbers;
      }[];
    };
    assert.deepEqual(Object.keys(json), ['ok', 'cases']);
    const [found] = json.cases;
    assert.deepEqual(Object.keys(found), ['file', 'task', 'device', 'ok', 'outputs', 'hidden', 'grads']);
    assert.deepEqual(
      [json.ok, found.ok, found.file, found.task, found.device],
      [true, true, dump, 'encoder', 'reference'],
    );
    for (const group of [found.outputs, found.hidden, found.grads]) {
      assert.ok(Object.keys(group).length > 0);
      for (const numbers of Object.values(group)) assert.deepEqual(Object.keys(numbers), ['maxAbs', 'relNorm']);
    }
  });

  test('exits with 1 when a number is off', async () => {
    const bytes = await readFile(dump);
    const header = Number(bytes.readBigUInt64LE(0));
    const { 'hidden/1': entry } = JSON.parse(bytes.toString('utf8', 8, 8 + header)) as Record<
      string,
      { data_offsets: number[] }
    >;
    const place = 8 + header + entry.data_offsets[0];
    bytes.writeFloatLE(bytes.readFloatLE(place) + 0.01, place);
    await writeFile(at('off.safetensors'), bytes);
    const { code, stdout } = await beit3(['parity', at('off.safetensors'), ...HERE]);
    assert.equal(code, 1);
    assert.match(stdout, /^FAIL .*\n {2}FAIL {2}hidden\/1 /);
    const { code: again, stdout: json } = await beit3(['parity', at('off.safetensors'), dump, ...HERE, '--json']);
    assert.equal(again, 1);
    const report = JSON.parse(json) as { ok: boolean; cases: { ok: boolean }[] };
    assert.deepEqual([report.ok, ...report.cases.map((c) => c.ok)], [false, false, true]);
  });
});

/** Bad input: one clear sentence, exit code 2, no stack trace, no partial file. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from '../beit3/tinyModels.js';
import { fixture } from '../checkpoints/helpers.js';
import { beit3, refuse } from './command.js';

let folder = '';
const at = (name: string): string => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-cli-'));
  await writeTinyCheckpoint('imageclassification', at('classify.pth'));
  await writeTinyCheckpoint('vqav2', at('vqa.safetensors'));
  await writeTinyTokenizer(at('beit3.spm'));
  await writePhoto(at('red.png'), 220, 30, 20);
  await writeFile(at('text.pth'), 'This is no checkpoint.\n');
  await writeFile(at('empty.png'), '');
  await writeFile(at('huge.png'), pngHeader(30_000, 30_000));
});

after(() => rm(folder, { recursive: true, force: true }));

/** The start of a PNG that claims a size, and nothing else. */
function pngHeader(width: number, height: number): Buffer {
  const bytes = Buffer.alloc(33);
  bytes.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  bytes.writeUInt32BE(13, 8);
  bytes.write('IHDR', 12, 'latin1');
  bytes.writeUInt32BE(width, 16);
  bytes.writeUInt32BE(height, 20);
  bytes.set([8, 2, 0, 0, 0], 24);
  bytes.writeUInt32BE(0x0a0b0c0d, 29);
  return bytes;
}

test('checkpoints that are none', async () => {
  const classify = (checkpoint: string, pattern: RegExp) =>
    refuse(pattern, 'classify', at('red.png'), '--checkpoint', checkpoint, '--device', 'reference');
  await Promise.all([
    classify(at('text.pth'), /text\.pth is not a checkpoint: it starts with the text "This is no checkpoint/),
    classify(fixture('formats/truncated.pth'), /truncated/),
    classify(at('none.pth'), /No such file: .*none\.pth/),
    classify(folder, /is a folder/),
    classify(fixture('formats/zip.pth'), /is not a BEiT-3 checkpoint/),
  ]);
});

test('a malicious checkpoint is refused by every command and runs nothing', async () => {
  const file = fixture('formats/malicious.pth');
  const before = await readdir(folder);
  await Promise.all([
    refuse(/malicious\.pth/, 'classify', at('red.png'), '--checkpoint', file),
    refuse(/malicious\.pth/, 'inspect', file),
    refuse(/malicious\.pth/, 'convert', file, at('out.safetensors')),
    refuse(/malicious\.pth/, 'embed', at('red.png'), '--checkpoint', file, '--output', at('out.npy')),
    refuse(/malicious\.pth|dump/, 'parity', file),
  ]);
  assert.deepEqual(await readdir(folder), before);
});

test('images that are none', async () => {
  const classify = (image: string, pattern: RegExp) =>
    refuse(pattern, 'classify', image, '--checkpoint', at('classify.pth'), '--device', 'reference');
  await Promise.all([
    classify(at('empty.png'), /empty\.png/),
    classify(at('huge.png'), /huge\.png.*30,?000/),
    classify(at('text.pth'), /text\.pth/),
    classify(at('none.png'), /There is no file .*none\.png/),
    classify(folder, /folder/),
  ]);
});

test('texts and tokenizers that do not fit the model', async () => {
  const vqa = (question: string, pattern: RegExp, ...more: string[]) =>
    refuse(
      pattern,
      'vqa',
      at('red.png'),
      question,
      '--checkpoint',
      at('vqa.safetensors'),
      '--device',
      'reference',
      ...more,
    );
  await Promise.all([
    vqa('xq'.repeat(100), /203 tokens.*at most 62/),
    vqa(' ', /has no words/),
    vqa(
      'a cat',
      /does not fit the model: it has \d+ tokens, but the word table has 99 rows/,
      '--tokenizer',
      fixture('tokenizer.spm'),
    ),
    vqa('a cat', /text\.pth/, '--tokenizer', at('text.pth')),
    vqa('a cat', /text\.pth has 1 labels, but the model tells 17 classes apart/, '--labels', at('text.pth')),
    vqa('a cat', /text\.pth is not valid JSON/, '--config', at('text.pth')),
  ]);
});

test('flags and commands that do not exist, with the nearest that does', async () => {
  const checkpoint = ['--checkpoint', at('classify.pth')];
  await Promise.all([
    refuse(/no flag --chekpoint; the nearest is --checkpoint/, 'classify', at('red.png'), '--chekpoint', 'x'),
    refuse(/no flag -x; put -- before/, 'tokenize', '-x'),
    refuse(/no command "clasify"; the nearest is classify/, 'clasify'),
    refuse(/Flags follow the command: expected beit3 COMMAND \.\.\. --json/, '--json', 'devices'),
    refuse(/no command "nothing"/, 'help', 'nothing'),
    refuse(/--json takes no value/, 'devices', '--json=yes'),
    refuse(/--threads must be a whole number from 1 to 1024, got "many"/, 'devices', '--threads', 'many'),
    refuse(/--threads must be a whole number/, 'devices', '--threads', '0'),
    refuse(/no device "wsm"; the nearest is wasm/, 'devices', '--device', 'wsm'),
    refuse(/of the device webgpu, and --device is wasm/, 'devices', '--device', 'wasm', '--adapter', 'x'),
    refuse(/--top needs a value: --top N/, 'classify', at('red.png'), ...checkpoint, '--top'),
    refuse(/--top needs a value/, 'classify', at('red.png'), ...checkpoint, '--top', '--json'),
    refuse(/--checkpoint was given twice/, 'classify', at('red.png'), ...checkpoint, ...checkpoint),
    refuse(/expects at least one image, got nothing; see beit3 classify --help/, 'classify', ...checkpoint),
    refuse(/expects an image and a question/, 'vqa', at('red.png'), 'how', 'many'),
    refuse(/the nearest is beit3_base_patch16_224_nlvr2/, 'inspect', 'beit3_base_patch_224_nlvr2'),
    refuse(/the nearest are .*beit3\.spm/, 'pull', 'bet3.spm'),
  ]);
  const { code, stderr } = await beit3(['tokenize', 'a cat'], { env: { AZULEJO_CACHE: folder } });
  assert.deepEqual([code, stderr], [0, ''], 'the pulled tokenizer is found');
  const missing = await beit3(['tokenize', 'a cat'], { env: { AZULEJO_CACHE: join(folder, 'none') } });
  assert.match(missing.stderr, /^beit3: beit3 tokenize needs a tokenizer: [^\n]+\.\n$/);
  assert.equal(missing.code, 2);
});

test('files that cannot be written, or would be themselves, leave nothing behind', async () => {
  await mkdir(at('folder.npy'));
  await mkdir(at('folder.pth'));
  const before = await readdir(folder);
  const embed = ['embed', at('red.png'), '--checkpoint', at('classify.pth'), '--device', 'reference'];
  await Promise.all([
    refuse(/same file/, 'convert', at('classify.pth'), at('classify.pth')),
    refuse(/Cannot tell the format/, 'convert', at('classify.pth'), at('out.bin')),
    refuse(
      /--dtype must be one of float32, float16, bfloat16/,
      'convert',
      at('classify.pth'),
      at('out.pth'),
      '--dtype',
      'int8',
    ),
    refuse(/its folder does not exist/, 'convert', at('classify.pth'), at('none/out.pth')),
    refuse(/truncated/, 'convert', fixture('formats/truncated.pth'), at('out.safetensors')),
    refuse(/Cannot tell the format/, ...embed, '--output', at('out.csv')),
    refuse(/its folder does not exist/, ...embed, '--output', at('none/out.npy')),
    refuse(/There is no file b; a text needs a --text of its own/, ...embed.slice(0, 2), '--text', 'a', 'b'),
    refuse(/are pairs, but there are 1 and 2/, ...embed, '--text', 'a', '--text', 'b'),
    refuse(/folder\.npy: it is a folder/, ...embed, '--output', at('folder.npy')),
    refuse(/folder\.pth: it is a folder/, 'convert', at('classify.pth'), at('folder.pth')),
    refuse(/classify\.pth/, 'parity', at('classify.pth')),
  ]);
  assert.deepEqual(await readdir(folder), before);
});

test('names that are empty, or hold what a terminal would obey', async () => {
  const checkpoint = ['--checkpoint', at('classify.pth')];
  await Promise.all([
    refuse(/--checkpoint needs a value: --checkpoint FILE/, 'classify', at('red.png'), '--checkpoint', ''),
    refuse(/--labels needs a value/, 'classify', at('red.png'), ...checkpoint, '--labels='),
    refuse(/The name of a file is empty/, 'classify', '', ...checkpoint),
    refuse(/name of a checkpoint is empty/, 'convert', '', at('out.pth')),
    refuse(/There is no file .*a\\x0a\\x1b\[31mb\.png/, 'classify', at('a\n\x1b[31mb.png'), ...checkpoint),
  ]);
});

test('a config that is none or contradicts the checkpoint', async () => {
  const classify = (pattern: RegExp, ...more: string[]) =>
    refuse(pattern, 'classify', at('red.png'), '--checkpoint', at('classify.pth'), '--device', 'reference', ...more);
  await writeFile(at('list.json'), '[]');
  await writeFile(at('layers.json'), '{"encoder_attention_heads": 4, "encoder_layers": 900}');
  await Promise.all([
    classify(/list\.json is not a BEiT-3 config: expected a JSON object/, '--config', at('list.json')),
    classify(/layers\.json says that encoder_layers is 900, but .* has 3/, '--config', at('layers.json')),
    classify(/--image-size must be a whole number from 1 to 8192/, '--image-size', '16384'),
    classify(/has 1048576 patches of 8, more than 65536/, '--image-size', '8192'),
  ]);
});

test('a checkpoint that was pulled is found by its name', async () => {
  const env = { AZULEJO_CACHE: folder };
  for (const name of ['classify.pth', 'classify']) {
    const found = await beit3(['classify', at('red.png'), '--checkpoint', name, '--device', 'reference'], { env });
    assert.deepEqual([found.code, found.stderr], [0, '']);
  }
});

test('stdout that takes no more is told in one sentence', { skip: process.platform !== 'linux' }, async () => {
  const { code, stderr } = await beit3(['devices'], { stdout: await open('/dev/full', 'w') });
  assert.match(stderr, /^beit3: Cannot write the results to stdout: ENOSPC[^\n]*\.\n$/);
  assert.equal(code, 2);
});

test('a reader that has seen enough is no error', async () => {
  const result = await beit3(['inspect', 'beit3_large_patch16_224_nlvr2', '--tensors'], {
    onStart: (child) => child.stdout?.once('data', () => child.stdout?.destroy()),
  });
  assert.deepEqual([result.code, result.stderr], [0, '']);
});

test('an unexpected error exits with 1, and with a stack only on demand', async () => {
  const script = "WebAssembly.validate = () => { throw new Error('nobody expected this'); }";
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(script)}` };
  const result = await beit3(['devices'], { env });
  assert.deepEqual(result, { code: 1, stdout: '', stderr: 'beit3: nobody expected this\n' });
  const debug = await beit3(['devices'], { env: { ...env, AZULEJO_DEBUG: '1' } });
  assert.equal(debug.code, 1);
  assert.match(debug.stderr, /^beit3: nobody expected this\nError: nobody expected this\n +at /);
});

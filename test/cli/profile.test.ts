/** `--profile`: a table on stderr, a trace in a file, and stdout as without it. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { disposeBackend } from '../../backends/index.js';
import { writePhoto, writeTinyCheckpoint } from '../beit3/tinyModels.js';
import { ADAPTER, gpuOrReason } from '../support/gpu.js';
import { beit3, refuse } from './command.js';

const gpu = await gpuOrReason();
let folder = '';
const at = (name: string): string => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-profile-'));
  await writeTinyCheckpoint('imageclassification', at('classify.pth'));
  await writePhoto(at('red.png'), 220, 30, 20);
});

after(async () => {
  await disposeBackend('webgpu');
  await rm(folder, { recursive: true, force: true });
});

const classify = (...flags: string[]) => ['classify', at('red.png'), '--checkpoint', at('classify.pth'), ...flags];

async function traced(file: string, ...flags: string[]): Promise<string> {
  const plain = await beit3(classify('--json', ...flags));
  const { code, stdout, stderr } = await beit3(classify('--json', ...flags, `--profile=${file}`));
  assert.equal(code, 0, stderr);
  assert.equal(stdout, plain.stdout);
  const { traceEvents } = JSON.parse(await readFile(file, 'utf8')) as { traceEvents: { name: string; ph: string }[] };
  for (const op of ['linear', 'attention', 'layerNorm'])
    assert.ok(
      traceEvents.some(({ name, ph }) => name === op && ph === 'X'),
      op,
    );
  assert.match(stderr, /^kernel +ms +time +launches +GFLOP\/s/m);
  assert.match(stderr, /^linear +\d+\.\d+ +\d+\.\d% +\d+ +\d/m);
  assert.ok(stderr.includes(`Wrote ${file}`), stderr);
  return stderr;
}

test('on the CPU the calls are measured', async () => {
  const stderr = await traced(at('cpu.json'), '--device', 'wasm');
  assert.match(stderr, /launches took [\d.]+ ms of [\d.]+ ms, measured on the host, for wasm/);
});

test('on a GPU its kernels are, against measured peaks', { skip: typeof gpu === 'string' && gpu }, async () => {
  const stderr = await traced(at('gpu.json'), '--device', 'webgpu', '--adapter', ADAPTER);
  assert.match(stderr, /measured on the device webgpu/);
  assert.match(stderr, /Measured peaks: \d+ GFLOP\/s in float32.*, \d+ GB\/s\./);
});

test('a file that is none, and a command that computes nothing, are told', async () => {
  await refuse(/expected a name that ends in \.json, got --profile=x\.txt/, ...classify('--profile=x.txt'));
  await refuse(/none\/p\.json: its folder does not exist/, ...classify(`--profile=${at('none/p.json')}`));
  const { code, stderr } = await beit3(['devices', `--profile=${at('none.json')}`]);
  assert.deepEqual([code, stderr], [0, 'Nothing was computed, so there is no profile.\n']);
  assert.ok(!(await readdir(folder)).includes('none.json'));
});

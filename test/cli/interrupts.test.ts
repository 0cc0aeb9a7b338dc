/** Ctrl-C and other signals end a command at once, with the code that shells expect, and leave no partial file. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeTinyCheckpoint, writeTinyTokenizer } from '../beit3/tinyModels.js';
import { fixture } from '../checkpoints/helpers.js';
import { beit3 } from './command.js';

let folder = '';
const at = (name: string): string => join(folder, name);
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-signals-'));
  await writeSparse(at('large.safetensors'), 2 ** 30);
  await writeTinyCheckpoint('retrieval', at('retrieval.pth'));
  await writeTinyTokenizer(at('beit3.spm'));
});

after(() => rm(folder, { recursive: true, force: true }));

/** A safetensors file of zeros that takes no room on the disk. */
async function writeSparse(path: string, bytes: number): Promise<void> {
  const json = JSON.stringify({ zeros: { dtype: 'F32', shape: [bytes / 4], data_offsets: [0, bytes] } });
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  header.write(json, 8);
  await writeFile(path, header);
  await truncate(path, header.length + bytes);
}

/** Runs a command and sends it a signal as soon as it writes a temporary file. */
function interruptWriting(args: readonly string[], signal: NodeJS.Signals) {
  return beit3(args, {
    onStart: (child) => {
      const timer = setInterval(async () => {
        if (!(await readdir(folder)).some((name) => name.endsWith('.tmp'))) return;
        clearInterval(timer);
        child.kill(signal);
      }, 5);
      child.once('exit', () => clearInterval(timer));
    },
  });
}

for (const [signal, code] of Object.entries(SIGNALS)) {
  test(`${signal} stops a conversion with ${code}: no partial file, the old one intact`, async () => {
    await writeFile(at('large.pth'), 'old');
    const before = await readdir(folder);
    const result = await interruptWriting(
      ['convert', at('large.safetensors'), at('large.pth')],
      signal as keyof typeof SIGNALS,
    );
    assert.deepEqual(result, { code, stdout: '', stderr: '' });
    assert.deepEqual(await readdir(folder), before);
    assert.equal(await readFile(at('large.pth'), 'utf8'), 'old');
  });
}

test('Ctrl-C ends a computation with 130', async () => {
  const dump = fixture('parity/encoder_vision.safetensors');
  const result = await beit3(['parity', ...new Array<string>(200).fill(dump), '--device', 'reference'], {
    onStart: (child) => child.stdout?.once('data', () => child.kill('SIGINT')),
  });
  assert.equal(result.code, 130);
  assert.equal(result.stderr, '');
});

test('Ctrl-C between the runs of a pipeline ends it, without results', async () => {
  const texts = new Array<string[]>(30000).fill(['--text', 'a cat']).flat();
  const result = await beit3(['embed', ...texts, '--checkpoint', at('retrieval.pth')], {
    onStart: (child) => void setTimeout(() => child.kill('SIGINT'), 4000),
  });
  assert.deepEqual(result, { code: 130, stdout: '', stderr: '' });
});

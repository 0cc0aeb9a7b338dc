/** Shards ten times larger than the heap are read to their end, in memory that does not grow with them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runReader } from '../../bench/stream/run.js';
import { type WrittenShards, writeShards } from '../../bench/stream/shards.js';

const HEAP = 16;
let folder = '';
let written: WrittenShards;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-memory-'));
  written = await writeShards(join(folder, 'shards'), { bytes: 10 * HEAP * 2 ** 20, pairs: 500, pictures: 40 });
});
after(() => rm(folder, { recursive: true, force: true }));

test('memory stays flat while shards go by that are ten times larger than the heap', async () => {
  const { shards, pairs, tokenizer } = written;
  const figures = await runReader({ what: 'pairs', shards, pairs, tokenizer }, HEAP);
  assert.deepEqual([figures.samples, figures.skipped], [pairs, 0]);
  assert.ok(figures.heap < HEAP, `${figures.heap} MiB on the heap`);
  const [, second, , last] = figures.quarters;
  // Half of the shards go by between them: 80 MiB.
  assert.ok(last - second < 24, `MiB in the quarters of the way: ${figures.quarters}`);
});

test('the benchmark prints speeds and memory beside its peers, and leaves nothing behind', async () => {
  const program = fileURLToPath(new URL('../../bench/stream.js', import.meta.url));
  const json = join(folder, 'stream.json');
  const flags = ['--megabytes', '3', '--pairs', '40', '--side', '64', '--repeats', '1', '--json', json];
  const env = { ...process.env, TMPDIR: folder, AZULEJO_PYTHON: join(folder, 'no-such-python') };
  const { stdout, stderr, status } = spawnSync(process.execPath, [program, ...flags], { encoding: 'utf8', env });
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /^files, openPairs +\d+ MB\/s, \d+ MB a second of processor time, \d+ pairs\/s, peak \d+ MiB/m);
  assert.match(stdout, /^files, Python tarfile +no Python here/m);
  assert.match(stdout, /^ratio of openPairs to files, createReadStream: [\d.]+ x the speed/m);
  const { rows } = JSON.parse(await readFile(json, 'utf8')) as { rows: Record<string, { pairsPerSecond: number }> };
  assert.ok(rows['http, openPairs'].pairsPerSecond > 10);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith('azulejo-stream')),
    [],
  );
});

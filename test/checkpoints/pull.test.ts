import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheDirectory, findWeights, type PullProgress, pull, WEIGHTS } from '../../checkpoints/index.js';
import { inputError, temporaryFolder } from './helpers.js';

const NAME = 'beit3_base_patch16_224.pth';
const CONTENT = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 2654435761) >>> 13);
const ETAG = '"v1"';

interface Behaviour {
  /** Bytes after which each response is cut; the last entry holds for the rest. */
  cuts?: number[];
  ranges?: boolean;
  etag?: string;
  content?: Uint8Array;
  /** Answers before anything else when it returns true. */
  intercept?: (request: IncomingMessage, response: ServerResponse, count: number) => boolean;
}

/** A server of one file and a `pull` that goes there. */
async function serve(t: TestContext, behaviour: Behaviour = {}) {
  const requests: { range?: string; ifRange?: string; path?: string }[] = [];
  const server = createServer((request, response) => {
    const { cuts = [], ranges = true, etag = ETAG, content = CONTENT, intercept } = behaviour;
    const count = requests.push({
      range: request.headers.range,
      ifRange: request.headers['if-range'] as string | undefined,
      path: request.url,
    });
    if (intercept?.(request, response, count)) return;
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const guard = request.headers['if-range'];
    const partial = ranges && from > 0 && (guard === undefined || guard === etag);
    if (partial && from >= content.length) {
      response.writeHead(416, { etag, 'content-range': `bytes */${content.length}` }).end();
      return;
    }
    const body = content.subarray(partial ? from : 0);
    response.writeHead(partial ? 206 : 200, {
      etag,
      'content-type': 'application/octet-stream',
      'content-length': body.length,
      ...(partial ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {}),
    });
    const cut = cuts[Math.min(count, cuts.length) - 1] ?? Number.POSITIVE_INFINITY;
    if (cut >= body.length) response.end(body);
    else response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 200));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const directory = await temporaryFolder(t);
  const progress: PullProgress[] = [];
  const there: typeof fetch = (url, init) => fetch(`${origin}/${new URL(String(url)).pathname.split('/').pop()}`, init);
  const get = (name = NAME) =>
    pull(name, { directory, fetch: there, retryDelay: 1, onProgress: (step) => void progress.push(step) });
  return { behaviour, directory, get, progress, requests };
}

const contentOf = async (path: string): Promise<Uint8Array> => new Uint8Array(await readFile(path));

test('a file arrives whole, with progress, once', async (t) => {
  const { directory, get, progress, requests } = await serve(t);
  const path = await get();
  assert.equal(path, join(directory, NAME));
  assert.deepEqual(await contentOf(path), CONTENT);
  assert.deepEqual(await readdir(directory), [NAME]);
  assert.deepEqual(progress[0], { name: NAME, received: 0, total: CONTENT.length });
  assert.deepEqual(progress.at(-1), { name: NAME, received: CONTENT.length, total: CONTENT.length });
  assert.equal(await get('beit3_base_patch16_224'), path);
  assert.deepEqual(requests, [{ range: undefined, ifRange: undefined, path: `/${NAME}` }]);
});

test('a cut connection is continued where it broke', async (t) => {
  const { get, requests } = await serve(t, { cuts: [100_000, 0, 50_000, Number.POSITIVE_INFINITY] });
  assert.deepEqual(await contentOf(await get()), CONTENT);
  assert.deepEqual(
    requests.map(({ range }) => range),
    [undefined, 'bytes=100000-', 'bytes=100000-', 'bytes=150000-'],
  );
  assert.equal(requests[1].ifRange, ETAG);
});

test('a later call continues, after one that gave up', async (t) => {
  const { behaviour, directory, get, requests } = await serve(t, { cuts: [120_000, 0] });
  await assert.rejects(
    get(),
    inputError(/^Cannot download beit3_base_patch16_224\.pth from .*pull it again to continue\.$/),
  );
  assert.deepEqual((await readdir(directory)).sort(), [`${NAME}.part`, `${NAME}.part.json`]);
  behaviour.cuts = [];
  requests.length = 0;
  assert.deepEqual(await contentOf(await get()), CONTENT);
  assert.deepEqual(
    requests.map(({ range }) => range),
    ['bytes=120000-'],
  );
  assert.deepEqual(await readdir(directory), [NAME]);
});

test('a complete part only gets its name', async (t) => {
  const { directory, get, requests } = await serve(t);
  await writeFile(join(directory, `${NAME}.part`), CONTENT);
  await writeFile(join(directory, `${NAME}.part.json`), JSON.stringify({ etag: ETAG, total: CONTENT.length }));
  assert.deepEqual(await contentOf(await get()), CONTENT);
  assert.equal(requests.length, 1);
});

test('a server that ignores ranges is downloaded from the start again', async (t) => {
  const { get, requests } = await serve(t, { ranges: false, cuts: [100_000, Number.POSITIVE_INFINITY] });
  assert.deepEqual(await contentOf(await get()), CONTENT);
  assert.deepEqual(
    requests.map(({ range }) => range),
    [undefined, 'bytes=100000-'],
  );
});

test('a part of another version is not continued', async (t) => {
  for (const state of [JSON.stringify({ etag: '"v0"', total: CONTENT.length }), 'not json', '[]', '3']) {
    const { directory, get } = await serve(t);
    await writeFile(join(directory, `${NAME}.part`), new Uint8Array(1000));
    await writeFile(join(directory, `${NAME}.part.json`), state);
    assert.deepEqual(await contentOf(await get()), CONTENT);
  }
  // A server that honours the range although the version changed, and one whose file became shorter.
  const { behaviour, directory, get } = await serve(t, { etag: 'W/"v1"' });
  for (const part of [1000, CONTENT.length + 5]) {
    await writeFile(join(directory, `${NAME}.part`), new Uint8Array(part));
    await writeFile(join(directory, `${NAME}.part.json`), JSON.stringify({ etag: 'W/"v0"', total: 400_000 }));
    behaviour.cuts = [];
    const path = await get();
    assert.deepEqual(await contentOf(path), CONTENT);
    await rm(path);
  }
});

test('the hash in the name is checked', async (t) => {
  const name = 'vqkd_encoder_base_decoder_1x768x12_clip-d93179da.pth';
  const { directory, get } = await serve(t);
  const found = createHash('sha256').update(CONTENT).digest('hex').slice(0, 8);
  await assert.rejects(get(name), inputError(new RegExp(`SHA-256 starts with ${found}, expected d93179da`)));
  assert.deepEqual(await readdir(directory), []);
  // No content with the official hash is at hand: the table takes that of ours for a moment.
  const file = findWeights(name) as { sha256Prefix: string };
  const official = file.sha256Prefix;
  t.after(() => void (file.sha256Prefix = official));
  file.sha256Prefix = found;
  assert.deepEqual(await contentOf(await get(name)), CONTENT);
});

test('server failures are retried, refusals are not', async (t) => {
  let status = 503;
  const { directory, get, requests } = await serve(t, {
    intercept(_, response, count) {
      if (count > 2 && status === 503) return false;
      response.writeHead(status).end();
      return true;
    },
  });
  assert.deepEqual(await contentOf(await get()), CONTENT);
  assert.equal(requests.length, 3);
  status = 404;
  await assert.rejects(
    get('beit3.spm'),
    inputError(/Cannot download beit3\.spm .*: the server answered 404 Not Found\.$/),
  );
  assert.equal(requests.length, 4);
  status = 500;
  await assert.rejects(get('beit3.spm'), inputError(/answered 500 Internal Server Error; what arrived is kept/));
  assert.equal(requests.length, 9);
  assert.deepEqual(await readdir(directory), [NAME]);
});

test('a web page instead of the file is refused', async (t) => {
  const { get } = await serve(t, {
    intercept(_, response) {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<html>');
      return true;
    },
  });
  await assert.rejects(get(), inputError(/the server sent a web page/));
});

test('a server that is not there is told', async (t) => {
  const directory = await temporaryFolder(t);
  const there: typeof fetch = (_, init) => fetch('http://127.0.0.1:9', init);
  await assert.rejects(
    pull(NAME, { directory, fetch: there, retryDelay: 1, attempts: 2 }),
    inputError(/^Cannot download/),
  );
});

test('a full disk is told, and a stop is one', async (t) => {
  const { directory, get } = await serve(t);
  if (process.platform === 'linux') {
    await symlink('/dev/full', join(directory, `${NAME}.part`));
    await assert.rejects(get(), inputError(/^The disk is full: beit3_base_patch16_224\.pth stopped after 0\.0 MB/));
  }
  const vast: typeof fetch = async () =>
    new Response(CONTENT, { headers: { 'content-length': String(2 ** 60), 'content-type': 'x/y' } });
  const full = pull('beit3.spm', { directory, fetch: vast, retryDelay: 1, attempts: 1 });
  await assert.rejects(full, inputError(/^The disk is full: beit3\.spm needs \d+ MB more and/));
  await assert.rejects(pull('beit3.spm', { directory, signal: AbortSignal.abort() }), inputError(/was stopped/));
});

test('unknown names get the nearest ones', () => {
  assert.throws(() => findWeights('beit3_base_patch16_244'), inputError(/nearest are beit3_base_patch16_224\.pth, /));
  assert.throws(() => findWeights('../../etc/passwd'), inputError(/No official weights are named/));
  assert.throws(() => findWeights(''), inputError(/No official weights/));
  assert.throws(() => findWeights('x'.repeat(1e6)), inputError(/No official weights/));
});

test('the table is that of the publishers', () => {
  assert.equal(WEIGHTS.length, 63);
  assert.equal(new Set(WEIGHTS.map((file) => file.name)).size, 63);
  const url = (name: string) => findWeights(name).url;
  assert.equal(url('beit3.spm'), 'https://github.com/addf400/files/releases/download/beit3/beit3.spm');
  assert.equal(
    url('beitv2_base_patch16_224_pt1k.pth'),
    'https://github.com/addf400/files/releases/download/BEiT-v2/beitv2_base_patch16_224_pt1k.pth',
  );
  assert.equal(
    url('beit_large_patch16_512_pt22k_ft22kto1k'),
    'https://github.com/addf400/files/releases/download/v1.0/beit_large_patch16_512_pt22k_ft22kto1k.pth',
  );
  const hashed = WEIGHTS.filter((file) => file.sha256Prefix !== null);
  assert.deepEqual(
    hashed.map((file) => file.sha256Prefix),
    ['d93179da', '663c55d7', 'd5036aa7'],
  );
});

test('the cache lies where the environment says', async (t) => {
  const before = process.env.AZULEJO_CACHE;
  t.after(() => {
    if (before === undefined) delete process.env.AZULEJO_CACHE;
    else process.env.AZULEJO_CACHE = before;
  });
  process.env.AZULEJO_CACHE = '/somewhere';
  assert.equal(await cacheDirectory(), '/somewhere');
  delete process.env.AZULEJO_CACHE;
  assert.equal(await cacheDirectory(), join(homedir(), '.cache', 'azulejo'));
});

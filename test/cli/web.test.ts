/** The server of the page. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type PageServer, servePage } from '../../cli/pageServer.js';
import { InputError } from '../../core/errors.js';
import { packageRoot } from '../support/fixtures.js';

describe('the server of the page', () => {
  let server: PageServer;
  before(async () => {
    server = await servePage(0);
  });
  after(() => server.close());

  /** The status of a path that is sent as it is: fetch would tidy it first. */
  const statusOf = (path: string, method = 'GET'): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(server.address);
      request({ hostname, port, path, method }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });

  it('gives the page with the headers that allow shared memory', async () => {
    const response = await fetch(server.address);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('cross-origin-opener-policy'), 'same-origin');
    assert.equal(response.headers.get('cross-origin-embedder-policy'), 'require-corp');
    assert.match(response.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(await response.text(), /<script type="module" src="main\.js">/);
  });

  it('gives its programs and its model', async () => {
    for (const [name, type] of [
      ['main.js', 'text/javascript; charset=utf-8'],
      ['engine.js', 'text/javascript; charset=utf-8'],
      ['worker.js', 'text/javascript; charset=utf-8'],
      ['style.css', 'text/css; charset=utf-8'],
    ]) {
      const response = await fetch(server.address + name);
      assert.equal(response.headers.get('content-type'), type, name);
      assert.equal(response.headers.get('content-length'), String((await response.text()).length), name);
    }
    const model = await (await fetch(`${server.address}emoji/model.safetensors`)).arrayBuffer();
    const wanted = await readFile(join(packageRoot, 'beit3/zoo/emoji/model.safetensors'));
    assert.ok(wanted.equals(new Uint8Array(model)));
  });

  it('gives nothing else', async () => {
    const paths = [
      '/../package.json',
      '/%2e%2e/package.json',
      '/emoji/../../shipped.ts',
      '/emoji/..%2f..%2fshipped.ts',
    ];
    for (const path of [...paths, '//', '/nothing.js', '/emoji/', '/emoji', '/.npmrc', '/C:\\x', '/\0', '*'])
      assert.equal(await statusOf(encodeURI(path).replaceAll('%25', '%')), 404, path);
    assert.equal(await statusOf('/', 'POST'), 405);
    assert.equal(await statusOf('/', 'HEAD'), 200);
  });

  it('says which port is taken', async () => {
    const { port } = new URL(server.address);
    await assert.rejects(servePage(Number(port)), (error: Error) => {
      assert.ok(error instanceof InputError);
      assert.equal(error.message, `Port ${port} is taken by another program; give another one with --port.`);
      return true;
    });
  });
});

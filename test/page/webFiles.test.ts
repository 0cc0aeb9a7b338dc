/** Files of a model in the page: downloaded with progress, kept from visit to visit, whole or not at all. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { disposeBackend } from '../../backends/index.js';
import { pipeline } from '../../beit3/index.js';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from '../beit3/tinyModels.js';
import { startBrowser } from './browser.js';
import { WebPage } from './webPage.js';

/** A server of someone else, which lets other pages read its files unless told otherwise. */
class OtherServer {
  readonly asked: string[] = [];
  /** Answers that wait to be ended. */
  readonly held: ServerResponse[] = [];
  private constructor(
    private readonly server: Server,
    readonly address: string,
  ) {}

  static async start(folder: string): Promise<OtherServer> {
    const server = createServer(async ({ url = '' }, response) => {
      const path = new URL(url, 'http://other').pathname;
      other.asked.push(path);
      if (!path.startsWith('/closed/')) response.setHeader('Access-Control-Allow-Origin', '*');
      if (path.endsWith('/page.safetensors')) return response.end('<!doctype html><title>Sign in</title>');
      const bytes = await readFile(join(folder, path.split('/').at(-1) as string)).catch(() => null);
      if (bytes === null) return response.writeHead(404).end();
      response.setHeader('Content-Length', bytes.length);
      if (!path.startsWith('/slow/') && !path.startsWith('/cut/')) return response.end(bytes);
      response.write(bytes.subarray(0, bytes.length / 2), () => {
        if (path.startsWith('/cut/')) response.destroy();
        else other.held.push(response);
      });
      return undefined;
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const other = new OtherServer(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return other;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

describe('files in the page', { timeout: 120_000 }, () => {
  let browser: Browser | string = 'not started';
  let folder = '';
  let other: OtherServer;
  const opened: WebPage[] = [];

  const inPage = (title: string, run: (web: WebPage) => Promise<void>) =>
    it(title, async (t) => {
      if (typeof browser === 'string') return t.skip(browser);
      const web = await WebPage.open(browser, { folder, isolated: true });
      opened.push(web);
      await web.ready();
      await run(web);
      await web.close();
    });

  const fetchFile = async (web: WebPage, path: string, server = other.address): Promise<void> => {
    await web.page.fill('#address', server + path);
    await web.page.click('#fetch-button');
  };
  /** Names and sizes as the page lists them. */
  const listed = (web: WebPage): Promise<string[]> =>
    web.page.$$eval('#stored li', (items) => items.map((item) => (item.firstChild?.textContent ?? '').trim()));
  /** What lies in the browser's file system. */
  const onDisk = (web: WebPage): Promise<string[]> =>
    web.page.evaluate(async () => {
      const names: string[] = [];
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle('azulejo', { create: true });
      for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name);
      return names;
    });
  const untilListed = (web: WebPage, count: number): Promise<unknown> =>
    web.page.waitForFunction((n) => document.querySelectorAll('#stored li').length === n, count);

  before(async () => {
    browser = await startBrowser();
    if (typeof browser === 'string') return;
    folder = await mkdtemp(join(tmpdir(), 'azulejo-files-'));
    await writeTinyCheckpoint('imageclassification', join(folder, 'classifier.safetensors'));
    await writeTinyCheckpoint('vqav2', join(folder, 'questions.pth'));
    await writeTinyTokenizer(join(folder, 'tiny.spm'));
    await writePhoto(join(folder, 'photo.png'), 200, 40, 90, 61, 47);
    await writeFile(join(folder, 'names.txt'), Array.from('abcdefghijk').join('\n'));
    await writeFile(
      join(folder, 'short.safetensors'),
      (await readFile(join(folder, 'classifier.safetensors'))).subarray(0, 5000),
    );
    other = await OtherServer.start(folder);
  });

  after(async () => {
    for (const web of opened) await web.close();
    if (typeof browser === 'string') return;
    await browser.close();
    await other.close();
    await disposeBackend('wasm');
    await rm(folder, { recursive: true });
  });

  inPage('a checkpoint from an address shows its progress, is kept, found after a reload, and deleted', async (web) => {
    const { page } = web;
    await page.evaluate(() => {
      const seen: number[] = [];
      const bar = document.getElementById('bar') as HTMLProgressElement;
      new MutationObserver(() => seen.push(bar.position)).observe(bar, { attributes: true });
      Object.assign(globalThis, { seen });
    });
    await fetchFile(web, '/slow/classifier.safetensors');
    await page.waitForFunction(() =>
      (globalThis as unknown as { seen: number[] }).seen.some((v) => v > 0.4 && v < 0.6),
    );
    assert.deepEqual(await listed(web), []);
    const bytes = await readFile(join(folder, 'classifier.safetensors'));
    other.held.pop()?.end(bytes.subarray(bytes.length / 2));
    await untilListed(web, 1);
    const [line] = await listed(web);
    assert.match(line, /^classifier\.safetensors, \d+\.\d kB$/);
    await fetchFile(web, '/names.txt');
    await untilListed(web, 2);
    await web.ready();

    await page.reload();
    await web.ready();
    assert.match(await page.innerText('#model-note'), /^classifier\.safetensors, .* can do: classify\.$/);
    assert.equal(await page.isDisabled('input[value="vqa"]'), true);
    assert.match(await page.innerText('#task-vqa-note'), /no vqav2 head/);
    await web.give([join(folder, 'photo.png')]);
    const got = await web.run();
    using classifier = await pipeline('classify', {
      checkpoint: join(folder, 'classifier.safetensors'),
      labels: join(folder, 'names.txt'),
      threads: 1,
    });
    const wanted = await classifier.run(join(folder, 'photo.png'));
    assert.deepEqual(
      got.map((row) => row.split(' | ')[0]),
      wanted.map(({ label }) => label),
    );
    // Once more by the same address: it is there.
    const before = other.asked.length;
    await fetchFile(web, '/slow/classifier.safetensors');
    await web.ready();
    assert.equal(other.asked.length, before);
    assert.equal((await listed(web)).length, 2);

    await page.click('[aria-label="Delete classifier.safetensors"]');
    await untilListed(web, 1);
    await web.ready();
    assert.match(await page.innerText('#model-note'), /comes with this page/);
    assert.equal((await onDisk(web)).length, 2);
  });

  inPage("weights, tokenizer and names of one's own answer questions", async (web) => {
    const files = ['questions.pth', 'tiny.spm'].map((name) => join(folder, name));
    await web.page.setInputFiles('#model-files', files);
    await untilListed(web, 2);
    await web.ready();
    assert.match(await web.page.innerText('#model-note'), /^questions\.pth, .* can do: vqa\.$/);
    await web.give([join(folder, 'photo.png')]);
    await web.page.fill('#question', 'is there a bird in this tree');
    const got = await web.run();
    using vqa = await pipeline('vqa', { checkpoint: files[0], tokenizer: files[1], threads: 1 });
    const wanted = await vqa.run(join(folder, 'photo.png'), 'is there a bird in this tree');
    assert.deepEqual(
      got.map((row) => row.split(' | ')[0]),
      wanted.map(({ answer }) => answer),
    );
  });

  inPage('what is broken, missing or cut off is told in one sentence, and nothing is kept', async (web) => {
    const where = other.address;
    for (const [path, sentence] of [
      [
        '/page.safetensors',
        /^page\.safetensors is not a checkpoint: it is a web page; give a \.safetensors or \.pth file\.$/,
      ],
      ['/short.safetensors', /^short\.safetensors is .*; get it again\.$/],
      [
        '/cut/classifier.safetensors',
        new RegExp(`^Reading ${where}/cut/classifier.safetensors broke off \\(.*\\); try again\\.$`),
      ],
      ['/none.pth', new RegExp(`^Cannot fetch ${where}/none.pth: the server answered 404\\.$`)],
      [
        '/closed/classifier.safetensors',
        /^Cannot fetch .* does not let other pages read the file \(CORS\); download it .*\.$/,
      ],
      ['/photo.png', /^photo\.png is no file of a model; expected a name that ends in .*\.$/],
      ['/names.spm', /^Cannot fetch/],
    ] as const) {
      await fetchFile(web, path);
      assert.match((await web.refusal()) ?? '', sentence, path);
      await web.page.waitForSelector('#fetch-button:not([disabled])');
      assert.deepEqual(await listed(web), [], path);
      assert.deepEqual(await onDisk(web), [], path);
    }
    await web.page.setInputFiles('#model-files', join(folder, 'short.safetensors'));
    await web.page.waitForFunction(() =>
      document.getElementById('error')?.textContent?.startsWith('short.safetensors'),
    );
    assert.deepEqual(await onDisk(web), []);
    await web.give([join(folder, 'photo.png')]);
    assert.equal((await web.run()).length, 1, 'the shipped model still answers');
  });

  inPage('a download that the visit does not outlive leaves nothing behind', async (web) => {
    await fetchFile(web, '/slow/classifier.safetensors');
    await web.page.waitForFunction(() => (document.getElementById('bar') as HTMLProgressElement).position > 0.4);
    assert.equal((await onDisk(web)).length, 1);
    await web.page.reload();
    await web.ready();
    assert.deepEqual(await listed(web), []);
    assert.deepEqual(await onDisk(web), []);
  });

  inPage('a file that the browser has no room for is told in one sentence, and nothing is kept', async (web) => {
    const session = await web.context.newCDPSession(web.page);
    const quota = { origin: web.server.address, quotaSize: 20_000 };
    await session.send('Storage.overrideQuotaForOrigin', quota);
    await fetchFile(web, '/classifier.safetensors');
    const sentence =
      'The browser has no room to keep classifier.safetensors; delete files that are kept, then try again.';
    assert.equal(await web.refusal(), sentence);
    assert.deepEqual(await onDisk(web), []);
    await session.send('Storage.overrideQuotaForOrigin', { origin: web.server.address });
    await fetchFile(web, '/classifier.safetensors');
    await untilListed(web, 1);
  });

  inPage('a browser that keeps nothing holds files while the page is open, and says so', async (web) => {
    await web.reloadWith('Object.defineProperty(StorageManager.prototype, "getDirectory", { value: undefined })');
    assert.match(await web.page.innerText('#lasting'), /^This browser keeps nothing from visit to visit/);
    await fetchFile(web, '/made/classifier.safetensors', web.server.address);
    await untilListed(web, 1);
    await web.ready();
    await web.give([join(folder, 'photo.png')]);
    assert.equal((await web.run()).length, 5);
    assert.deepEqual(await onDisk(web), []);
  });
});

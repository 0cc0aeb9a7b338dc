/** The package's browser build in a page that has nothing else. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { disposeBackend } from '../../backends/index.js';
import { type Classification, pipeline } from '../../beit3/index.js';
import { writePhoto, writeTinyCheckpoint } from '../beit3/tinyModels.js';
import { packageRoot } from '../support/fixtures.js';
import { startBrowser } from './browser.js';
import { serve } from './server.js';

/** What the page's programs use of the library; its addresses are known only there. */
const CLASSIFY = `(async () => {
  const { useBackend, tensor } = await import('/dist/browser/index.js');
  const { pipeline } = await import('/dist/browser/beit3.js');
  const { Linear, Builder } = await import('/dist/browser/nn.js');
  await useBackend('wasm', { threads: 2 });
  const x = tensor([[1, 2], [3, 4]], { requiresGrad: true });
  x.matmul(x).sum().backward();
  // One library: a layer of one entry takes tensors of another.
  const product = new Linear(new Builder(), 2, 3).forward(tensor([[1, 2]]));
  const [checkpoint, image] = await Promise.all(
    ['classifier.safetensors', 'photo.png'].map(async (name) => (await fetch('/made/' + name)).blob()),
  );
  const classifier = await pipeline('classify', { checkpoint, device: 'wasm', threads: 2 });
  return { gradient: await x.grad.toArray(), shape: product.shape, found: await classifier.run(image) };
})()`;

interface Made {
  readonly gradient: number[][];
  readonly shape: number[];
  readonly found: Classification[];
}

describe('the browser build', { timeout: 60_000 }, () => {
  let browser: Browser | string = 'not started';
  let folder = '';

  before(async () => {
    browser = await startBrowser();
    folder = await mkdtemp(join(tmpdir(), 'azulejo-library-'));
    await writeTinyCheckpoint('imageclassification', join(folder, 'classifier.safetensors'));
    await writePhoto(join(folder, 'photo.png'), 200, 40, 90, 61, 47);
  });

  after(async () => {
    if (typeof browser !== 'string') await browser.close();
    await disposeBackend('wasm');
    await rm(folder, { recursive: true });
  });

  it('computes as in Node, and loads the chosen backend alone', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const server = await serve(folder, { isolated: true });
    try {
      const page = await browser.newPage();
      await page.goto(server.address);
      const { gradient, shape, found } = (await page.evaluate(CLASSIFY)) as Made;
      assert.deepEqual(gradient, [
        [7, 11],
        [9, 13],
      ]);
      assert.deepEqual(shape, [1, 3]);
      assert.equal(page.workers().length, 1);
      const checkpoint = join(folder, 'classifier.safetensors');
      using classifier = await pipeline('classify', { checkpoint, device: 'wasm', threads: 1 });
      const wanted = await classifier.run(join(folder, 'photo.png'));
      assert.deepEqual(
        found.map(({ index }) => index),
        wanted.map(({ index }) => index),
      );
      for (const [i, { probability }] of found.entries())
        assert.ok(Math.abs(probability - wanted[i].probability) < 1e-4);
      const programs = server.requests.filter((path) => path.startsWith('/dist/browser/'));
      assert.ok(programs.some((path) => /\/wasm-\w+\.js$/.test(path)));
      assert.deepEqual(
        programs.filter((path) => /reference|webgpu|gpu|node|sharp/i.test(path)),
        [],
      );
    } finally {
      await server.close();
    }
  });

  it('is taken by a page as the README has it', async (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    const readme = await readFile(join(packageRoot, 'README.md'), 'utf8');
    const [, html] = /```html\n([\s\S]*?)```/.exec(readme) ?? [];
    const changed = html.replace('./node_modules/azulejo/', '/').replace(/'[\w.]+\.pth'/, "'classifier.safetensors'");
    await writeFile(join(folder, 'page.html'), changed);
    const server = await serve(folder, { isolated: false });
    try {
      const page = await browser.newPage();
      const said = page.waitForEvent('console', (message) => message.type() === 'log');
      await page.goto(`${server.address}/made/page.html`, { waitUntil: 'networkidle' });
      await page.setInputFiles('#photo', join(folder, 'photo.png'));
      const found = (await (await said).args()[0].jsonValue()) as Classification[];
      assert.equal(found.length, 5);
    } finally {
      await server.close();
    }
  });
});

/** The gpu.js backend on a real WebGL2, in Chromium: dumps of all heads, training, memory, and what it says. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { disposeBackend } from '../../backends/index.js';
import { startBrowser } from './browser.js';
import * as inPage from './gpujsInPage.js';
import { Session } from './session.js';

/** One for each head; every dump is run by the conformance tests. */
const DUMPS = [
  'captioning_beam3',
  'captioning',
  'encoder_fused_masked',
  'imageclassification',
  'nlvr2',
  'retrieval',
  'vqav2',
];
const MOST = 1e-3;

describe('gpujs in a page with WebGL2', { timeout: 180_000 }, () => {
  let browser: Browser | string = 'not started';
  let session: Session<typeof inPage>;
  const told: string[] = [];

  before(async () => {
    browser = await startBrowser();
    if (typeof browser === 'string') return;
    session = await Session.open(browser, '/dist/test/page/gpujsInPage.js', { isolated: false });
    session.page.on('console', (message) => {
      if (message.text().includes('no kernel for')) told.push(message.text());
    });
  });

  after(async () => {
    await disposeBackend('wasm');
    if (typeof browser === 'string') return;
    await session.close();
    await browser.close();
  });

  const withPage = (title: string, run: () => Promise<void>) =>
    it(title, async (t) => {
      if (typeof browser === 'string') t.skip(browser);
      else await run();
    });

  for (const name of DUMPS) {
    withPage(`parity with PyTorch: ${name}`, async () => {
      const found = await session.call('parity', `/test/fixtures/parity/${name}.safetensors`);
      assert.equal(found.error, undefined);
      const all = Object.entries({ ...found.outputs, ...found.hidden, ...found.grads });
      assert.ok(all.length > 0, 'nothing was compared');
      const outside = all.filter(([, c]) => c.relNorm > MOST);
      assert.deepEqual(outside, []);
    });
  }

  withPage('what has no kernel was told once for each op', async () => {
    const names = told.map((text) => /no kernel for (\w+) on/.exec(text)?.[1]);
    assert.ok(names.includes('topk'), 'the easiest tokens are sorted out');
    assert.deepEqual([...new Set(names)], names);
    // The heavy ones have one.
    const heavy = ['matmul', 'linear', 'attention', 'layerNorm', 'softmax', 'gelu', 'add', 'mul', 'exp', 'max'];
    assert.deepEqual(
      names.filter((name) => heavy.includes(name ?? '')),
      [],
    );
  });

  withPage('training steps are those of the wasm backend', async () => {
    const got = await session.call('train', 'gpujs', {}, 3);
    const wanted = await inPage.train('wasm', { threads: 2 }, 3);
    assert.equal(got.losses.length, 3);
    for (const [i, loss] of got.losses.entries()) assert.ok(Math.abs(loss - wanted.losses[i]) < 1e-4, `loss ${i}`);
    assert.ok(got.losses[2] < got.losses[0], 'nothing was learnt');
    const names = Object.keys(wanted.gradients);
    assert.ok(names.length > 20);
    assert.deepEqual(Object.keys(got.gradients), names);
    const largest = Math.max(...Object.values(wanted.gradients));
    for (const name of names) {
      const [a, b] = [got.gradients[name], wanted.gradients[name]];
      assert.ok(Math.abs(a - b) <= 1e-3 * b + 1e-6 * largest, `gradient of ${name}: ${a}, wanted ${b}`);
    }
  });

  for (const dtype of ['float32', 'float16'] as const) {
    withPage(`weights of ${dtype} go to the device once, and no texture stays`, async () => {
      const { left, uploaded, result } = await session.call('traffic', dtype);
      assert.deepEqual(result, [4 * 64 + 64, 4 * 65 + 65]);
      assert.equal(left, 0);
      assert.ok(uploaded[0] >= 64 * 64 * 4, `the first call uploads the weight, got ${uploaded[0]} bytes`);
      assert.ok(uploaded[1] <= 1024, `the second call uploads its input alone, got ${uploaded[1]} bytes`);
    });
  }

  withPage('elements above 2^24 are counted exactly', async () => {
    const at = (i: number) => i % 8191;
    const { rows, product } = await session.call('farEntries');
    const first = 4 * (2 ** 22 + 1);
    assert.deepEqual(
      rows,
      Array.from({ length: 8 }, (_, i) => at(first + i)),
    );
    assert.equal(product, at(4 * (2 ** 22 + 2)));
  });

  withPage('what is larger than a texture runs as the reference does', async () => {
    const sum = (size: number) => Array.from({ length: size }, (_, i) => i + i * i).reduce((a, b) => a + b, 0);
    told.length = 0;
    assert.deepEqual(await session.call('smallTextures', [1023, 1024]), [sum(1023), sum(1024)]);
    assert.deepEqual(told, []);
    assert.deepEqual(await session.call('smallTextures', [1025]), [sum(1025)]);
    assert.deepEqual(
      told.map((text) => /no kernel for (\w+) on/.exec(text)?.[1]),
      ['mul', 'add'],
    );
  });

  withPage('nothing complained', async () => {
    assert.deepEqual(session.complaints, []);
  });

  withPage('a lost graphics processor is told in one sentence', async () => {
    const said = await session.call('loss');
    assert.equal(said.length, 3);
    for (const text of said) assert.match(text, /lost its graphics processor.*reload the page\.$/);
  });

  withPage('a page without WebGL2 or float textures is told what is missing', async () => {
    const [noFloats, noWebGl] = await session.call('refusals');
    assert.match(noFloats, /cannot draw into float textures \(EXT_color_buffer_float\).*use the wasm backend\.$/);
    assert.match(noWebGl, /no WebGL2.*use the wasm backend\.$/);
  });
});

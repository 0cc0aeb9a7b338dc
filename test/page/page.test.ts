/** The library in a real browser: shared memory and one thread, parity, texts, pictures, a pipeline. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Browser } from 'playwright-core';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import {
  DataLoader,
  decodeImage,
  pipeline,
  preprocessImage,
  runParity,
  visionLanguageTraining,
} from '../../beit3/index.js';
import { writePhoto, writeTinyCheckpoint } from '../beit3/tinyModels.js';
import { fixture, readJson } from '../support/fixtures.js';
import { startBrowser } from './browser.js';
import type * as inPage from './inPage.js';
import { Session } from './session.js';

type InPage = typeof inPage;

const DUMPS = ['encoder_fused', 'captioning_beam3'];
const paths = DUMPS.map((name) => `/test/fixtures/parity/${name}.safetensors`);

describe('in a page', { timeout: 120_000 }, () => {
  let browser: Browser | string = 'not started';
  let folder = '';
  const sessions: Session<InPage>[] = [];
  let isolated: Session<InPage>;

  const open = async (running: Browser, withHeaders: boolean): Promise<Session<InPage>> => {
    const session = await Session.open<InPage>(running, '/dist/test/page/inPage.js', { folder, isolated: withHeaders });
    sessions.push(session);
    return session;
  };

  /** A test that is skipped, with the reason, where no browser runs. */
  const inBrowser = (title: string, run: (running: Browser, t: TestContext) => Promise<void>) =>
    it(title, async (t) => {
      if (typeof browser === 'string') t.skip(browser);
      else await run(browser, t);
    });

  before(async () => {
    browser = await startBrowser();
    if (typeof browser === 'string') return;
    folder = await mkdtemp(join(tmpdir(), 'azulejo-page-'));
    await writeTinyCheckpoint('imageclassification', join(folder, 'classifier.safetensors'));
    await writePhoto(join(folder, 'photo.png'), 200, 40, 90, 61, 47);
    isolated = await open(browser, true);
  });

  after(async () => {
    for (const s of sessions) await s.close();
    if (typeof browser !== 'string') await browser.close();
    await disposeBackend('wasm');
    if (folder !== '') await rm(folder, { recursive: true });
  });

  inBrowser('isolated: two threads over shared memory give the numbers of the reference', async () => {
    const got = await isolated.call('parity', paths, { threads: 2 });
    assert.deepEqual([got.isolated, got.shared, got.workers], [true, true, 1]);
    assert.equal(isolated.page.workers().length, 1);
    await assertSameVerdict(got.report);
  });

  inBrowser('not isolated: one thread gives them too', async (running) => {
    const session = await open(running, false);
    const got = await session.call('parity', paths, { threads: 2 });
    assert.deepEqual([got.isolated, got.shared, got.workers], [false, false, 0]);
    assert.equal(session.page.workers().length, 0);
    await assertSameVerdict(got.report);
    assert.deepEqual(session.complaints, []);
  });

  inBrowser('texts become the same ids as in sentencepiece, and texts again', async () => {
    const { cases } = await readJson<{ cases: { text: string; ids: number[]; decoded: string }[] }>(
      'tokenizer_cases.json',
    );
    assert.ok(cases.length >= 12);
    const got = await isolated.call(
      'tokenize',
      '/test/fixtures/tokenizer.spm',
      cases.map((c) => c.text),
    );
    assert.deepEqual(
      got,
      cases.map(({ ids, decoded }) => ({ ids, decoded })),
    );
  });

  inBrowser('training batches are those of Node', async () => {
    const got = await isolated.call('trainingPixels', '/made/photo.png', 4);
    const loader = new DataLoader(
      {
        task: 'imageclassification',
        size: 4,
        classes: 4,
        vocabulary: null,
        sample: (row) => ({ pictures: [join(folder, 'photo.png')], label: row }),
        where: (row) => `row ${row}`,
      },
      {
        batchSize: 2,
        transform: visionLanguageTraining({ size: 16, randAugment: true }),
        training: true,
        seed: 3,
        workers: 1,
      },
    );
    const wanted: number[] = [];
    for await (const { images } of loader.epoch(1)) wanted.push(...images);
    await loader.close();
    assert.equal(wanted.length, 4 * 3 * 16 * 16);
    assert.deepEqual(got, wanted);
  });

  for (const kind of ['vl', 'imagenet'] as const) {
    inBrowser(`a PNG looks as in Node (${kind})`, async () => {
      for (const [path, file] of [
        ['/made/photo.png', join(folder, 'photo.png')],
        ['/test/fixtures/images/cat.png', fixture('images/cat.png')],
      ]) {
        const image = await decodeImage(file);
        const got = await isolated.call('seen', path, kind, 32);
        assert.equal(got.pixels.length, image.data.length);
        assert.ok(
          got.pixels.every((v, i) => Math.abs(v - image.data[i]) <= 1),
          `${path}: bytes`,
        );
        const wanted = preprocessImage(image, kind, { size: 32 });
        assert.equal(got.input.length, wanted.length);
        // One of 255 levels, over the smallest deviation of the two normalisations.
        assert.ok(
          got.input.every((v, i) => Math.abs(v - wanted[i]) <= 1 / 255 / 0.22),
          `${path}: model input`,
        );
      }
    });
  }

  inBrowser('a pipeline classifies from a checkpoint as in Node', async () => {
    const got = await isolated.call('classify', '/made/classifier.safetensors', '/made/photo.png');
    const classifier = await pipeline('classify', { checkpoint: join(folder, 'classifier.safetensors') });
    const wanted = await classifier.run(join(folder, 'photo.png'));
    classifier.dispose();
    assert.equal(got.length, 5);
    assert.deepEqual(
      got.map((c) => c.label),
      wanted.map((c) => c.label),
    );
    for (const [i, c] of got.entries()) assert.ok(Math.abs(c.probability - wanted[i].probability) < 1e-4);
  });

  inBrowser('workers end with the backend, and nothing complained or was loaded in vain', async () => {
    const [worker] = isolated.page.workers();
    const ended = new Promise((resolve) => worker.once('close', resolve));
    await isolated.call('end');
    await ended;
    assert.equal(isolated.page.workers().length, 0);
    assert.deepEqual(isolated.complaints, []);
    const { requests } = isolated.server;
    assert.ok(requests.includes('/dist/backends/wasm/workers/worker.js'));
    assert.deepEqual(
      requests.filter((path) => /ndarray|backends\/reference|sharp/i.test(path)),
      [],
    );
  });
});

/** The page's report agrees with one made here, case by case. */
async function assertSameVerdict(report: inPage.PageParity['report']): Promise<void> {
  const backend = await loadBackend('wasm', { threads: 2 });
  const here = await runParity(
    DUMPS.map((name) => fixture(`parity/${name}.safetensors`)),
    { backend },
  );
  assert.deepEqual(
    report.cases.map((c) => [c.task, c.device, c.ok, c.error]),
    here.cases.map((c) => [c.task, c.device, c.ok, c.error]),
  );
  assert.ok(report.ok);
  for (const [i, c] of report.cases.entries()) {
    for (const group of ['outputs', 'hidden', 'grads'] as const) {
      assert.deepEqual(Object.keys(c[group]), Object.keys(here.cases[i][group]));
    }
  }
}

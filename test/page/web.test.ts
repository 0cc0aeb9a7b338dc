/** The page in a real browser: all tasks on every device, what is missing, and that it never freezes. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Browser } from 'playwright-core';
import { disposeBackend } from '../../backends/index.js';
import { startBrowser } from './browser.js';
import { answersInNode, answersInPage, drawEmoji, type OpenOptions, type Shown, WebPage } from './webPage.js';

/** Half a step of what is shown, and the rounding of another processor. */
const CLOSE = { percent: 0.15, similarity: 0.002 };

function assertSameAnswers(got: Shown, wanted: Shown): void {
  assert.deepEqual(Object.keys(got), Object.keys(wanted));
  for (const [job, rows] of Object.entries(wanted)) {
    assert.deepEqual(
      got[job].map(([text]) => text),
      rows.map(([text]) => text),
      job,
    );
    const close = job === 'pictures' || job === 'texts' ? CLOSE.similarity : CLOSE.percent;
    if (job !== 'caption') {
      rows.forEach(([text, number], i) => {
        assert.ok(Math.abs(got[job][i][1] - number) < close, `${job}, ${text}: ${got[job][i][1]}, wanted ${number}`);
      });
    }
  }
}

describe('the page', { timeout: 180_000 }, () => {
  const browsers: { plain: Browser | string; webgpu: Browser | string } = {
    plain: 'not started',
    webgpu: 'not started',
  };
  let folder = '';
  let pictures: string[] = [];
  let wanted: Shown;
  const opened: WebPage[] = [];

  /** A test that is skipped, with the reason, where no browser runs or a backend is not part of this build. */
  const inPage = (
    title: string,
    { browser = 'plain', ...options }: PageOptions,
    run: (web: WebPage, t: TestContext) => Promise<void>,
  ) =>
    it(title, async (t) => {
      const running = browsers[browser];
      if (typeof running === 'string') return t.skip(running);
      const web = await WebPage.open(running, { folder, isolated: true, ...options });
      opened.push(web);
      await run(web, t);
      await web.close();
    });

  before(async () => {
    browsers.plain = await startBrowser();
    if (typeof browsers.plain === 'string') return;
    browsers.webgpu = await startBrowser({ webgpu: true });
    folder = await mkdtemp(join(tmpdir(), 'azulejo-web-'));
    pictures = await drawEmoji(folder, ['red-apple', 'dog-face', 'automobile']);
    wanted = await answersInNode(pictures);
    await disposeBackend('wasm');
  });

  after(async () => {
    for (const web of opened) await web.close();
    for (const browser of Object.values(browsers)) if (typeof browser !== 'string') await browser.close();
    if (folder !== '') await rm(folder, { recursive: true });
  });

  inPage('wasm with threads answers as in Node, and loads no other backend', {}, async (web) => {
    await web.ready();
    await web.give(pictures);
    assert.equal(await web.device('wasm').then((d) => d?.works), true);
    assertSameAnswers(await answersInPage(web, pictures), wanted);
    const { requests } = web.server;
    assert.ok(requests.includes('/dist/web/worker.js'));
    assert.deepEqual(
      requests.filter((path) => /reference|webgpu|gpujs|node/.test(path)),
      [],
    );
    assert.ok(requests.every((path) => path.startsWith('/dist/web/')));
    assert.deepEqual(web.complaints, []);
  });

  inPage('wasm without shared memory answers too, and says what is missing', { isolated: false }, async (web) => {
    await web.ready();
    await web.give(pictures);
    assert.match((await web.device('wasm'))?.note ?? '', /^The processor, with one thread: .*COOP and COEP.*\.$/);
    assert.match(await web.page.innerText('#remark'), /no shared memory/);
    assertSameAnswers(await answersInPage(web, pictures), wanted);
    assert.ok(!web.server.requests.includes('/dist/web/worker.js'));
  });

  inPage('WebGPU answers as in Node', { browser: 'webgpu' }, async (web) => {
    await web.ready();
    await web.give(pictures);
    assert.equal((await web.device('webgpu'))?.works, true);
    await web.choose('device', 'webgpu');
    assertSameAnswers(await answersInPage(web, pictures), wanted);
    assert.match(await web.page.innerText('#result .timing'), /^webgpu: /);
  });

  inPage('WebGL2 answers as in Node', {}, async (web) => {
    await web.ready();
    await web.give(pictures);
    assert.equal((await web.device('gpujs'))?.works, true);
    await web.choose('device', 'gpujs');
    assertSameAnswers(await answersInPage(web, pictures), wanted);
    assert.match(await web.page.innerText('#result .timing'), /^gpujs: /);
  });

  inPage('auto does not take a graphics processor in software', { browser: 'webgpu' }, async (web) => {
    await web.ready();
    assert.deepEqual(await web.device('webgpu'), {
      works: true,
      note: 'A graphics processor in software (google swiftshader).',
    });
    assert.match((await web.device('auto'))?.note ?? '', /^Takes wasm/);
  });

  inPage('a device that is lost is told, and the next job gets a fresh one', { browser: 'webgpu' }, async (web) => {
    await web.ready();
    await web.give(pictures.slice(0, 1));
    await web.choose('device', 'webgpu');
    await web.choose('task', 'classify');
    assert.equal((await web.run()).length, 5);
    const session = await (web.context.browser() as Browser).newBrowserCDPSession();
    await session.send('Browser.crashGpuProcess');
    const [sentence] = await web.run();
    assert.match(sentence, /^The GPU was lost .* Run it again to go on with a fresh device\.$/);
    assert.equal(await web.page.isVisible('#restart'), true);
    assert.equal((await web.run()).length, 5);
  });

  inPage('without an adapter WebGPU cannot be chosen, and auto takes wasm', {}, async (web) => {
    await web.ready();
    assert.deepEqual(await web.device('webgpu'), {
      works: false,
      note: 'This browser has WebGPU, but no graphics adapter for it.',
    });
    assert.match((await web.device('auto'))?.note ?? '', /^Takes wasm/);
  });

  inPage('a browser that has nothing of it all says what is missing, and still answers', {}, async (web) => {
    await web.ready();
    await web.reloadWith(`
      Object.defineProperty(WorkerNavigator.prototype, 'gpu', { value: undefined });
      const { getContext } = OffscreenCanvas.prototype;
      OffscreenCanvas.prototype.getContext = function (kind, options) {
        return kind === '2d' ? getContext.call(this, kind, options) : null;
      };
      delete globalThis.WebAssembly`);
    await web.give(pictures.slice(0, 1));
    const no = (note: string) => ({ works: false, note });
    assert.deepEqual(await web.device('webgpu'), no('This browser has no WebGPU.'));
    assert.deepEqual(await web.device('gpujs'), no('This browser has no WebGL2.'));
    assert.deepEqual(await web.device('wasm'), no('This browser has no WebAssembly.'));
    assert.match((await web.device('auto'))?.note ?? '', /^Takes reference/);
    assert.deepEqual(await web.run(), [wanted.caption[0][0]]);
    assert.match(await web.page.innerText('#result .timing'), /^reference: /);
  });

  inPage('a picture can be dropped, and what is no picture is refused in one sentence', {}, async (web) => {
    await web.ready();
    await writeFile(join(folder, 'letter.pdf'), '%PDF-1.4 nothing');
    await web.page.evaluate(async () => {
      const transfer = new DataTransfer();
      for (const name of ['red-apple.png', 'letter.pdf']) {
        transfer.items.add(new File([await (await fetch(`/made/${name}`)).blob()], name));
      }
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
    });
    const sentence = 'letter.pdf is no picture that this browser can read; give a PNG, JPEG, WebP, GIF or AVIF file.';
    assert.equal(await web.refusal(), sentence);
    assert.equal(await web.page.locator('#pictures li').count(), 1);
    await web.choose('task', 'caption');
    assert.deepEqual(await web.run(), [wanted.caption[0][0]]);
    await web.page.click('#pictures button');
    assert.deepEqual(await web.run(), ['There is no picture yet; drop one on this page first.']);
  });

  inPage('what the model cannot take is told in its own sentence', {}, async (web) => {
    await web.ready();
    await web.give(pictures.slice(0, 1));
    await web.choose('task', 'vqa');
    await web.page.fill('#question', 'red '.repeat(200));
    const [sentence] = await web.run();
    assert.match(sentence, /^The text "red red .*" has \d+ tokens, .* takes at most \d+; shorten it\.$/);
    await web.page.fill('#question', ' ');
    assert.deepEqual(await web.run(), ['There is no question yet; write one.']);
  });

  inPage('the page goes on while the engine computes, and the engine can be stopped', {}, async (web) => {
    await web.ready();
    await web.give(pictures);
    await web.choose('device', 'reference');
    await web.choose('task', 'retrieve');
    await web.page.evaluate(() => {
      const gaps: number[] = [];
      let last = performance.now();
      setInterval(() => {
        const now = performance.now();
        gaps.push(now - last);
        last = now;
      }, 5);
      Object.assign(globalThis, { gaps });
    });
    const start = Date.now();
    assert.equal((await web.run()).length, pictures.length);
    const took = Date.now() - start;
    const gaps = await web.page.evaluate(() => (globalThis as unknown as { gaps: number[] }).gaps);
    const longest = Math.max(...gaps);
    // The reference backend computes nearly all of the time, without a pause.
    assert.ok(gaps.length >= 10 && longest < took / 2, `the page stood still for ${longest} of ${took} ms`);
    // The next engine comes when the test says so: until then there is nothing to run.
    let go = (): void => {};
    const told = new Promise<void>((resolve) => {
      go = resolve;
    });
    await web.context.route('**/engine.js', async (route) => {
      await told;
      await route.continue();
    });
    await web.page.click('#run');
    await web.page.click('#stop');
    assert.equal(await web.refusal(), 'It was stopped.');
    assert.equal(await web.page.isDisabled('#run'), true);
    go();
    await web.ready();
    await web.choose('device', 'wasm');
    await web.choose('task', 'caption');
    await web.page.selectOption('#picture', { label: 'red-apple.png' });
    assert.deepEqual(await web.run(), [wanted.caption[0][0]]);
  });

  const countJobs = (): void => {
    const counted = Object.assign(globalThis, { jobs: 0 });
    const { postMessage } = Worker.prototype;
    Worker.prototype.postMessage = function (this: Worker, message: { call?: string }) {
      if (message.call === 'run') counted.jobs++;
      postMessage.call(this, message);
    };
  };
  inPage('two quick clicks are one job', { before: countJobs }, async (web) => {
    await web.ready();
    await web.give(pictures.slice(0, 1));
    await web.page.$eval('#run', (button) => {
      (button as HTMLButtonElement).click();
      (button as HTMLButtonElement).click();
    });
    assert.deepEqual(await web.outcome(), [wanted.caption[0][0]]);
    assert.equal(await web.page.evaluate(() => (globalThis as unknown as { jobs: number }).jobs), 1);
  });

  inPage('an engine that cannot start is told, and can be started again', {}, async (web) => {
    await web.ready();
    await web.context.route('**/engine.js', (route) => route.abort());
    await web.page.reload();
    assert.match((await web.refusal()) ?? '', /^The engine could not be started.*; restart it\.$/);
    await web.context.unroute('**/engine.js');
    await web.page.click('#restart');
    await web.ready();
    assert.equal(await web.error(), null);
    assert.equal(await web.page.isVisible('#restart'), false);
  });
});

interface PageOptions extends Partial<OpenOptions> {
  readonly browser?: 'plain' | 'webgpu';
}

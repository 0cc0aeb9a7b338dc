/** Every op on every backend of a page against the oracle, in Chromium. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import '../../index.js';
import type { BackendOptions } from '../../backends/index.js';
import { startBrowser } from '../page/browser.js';
import { Session } from '../page/session.js';
import type * as inPage from './inPage.js';
import { testedOps } from './report.js';

const BACKENDS: Readonly<Record<string, BackendOptions>> = { wasm: { threads: 2 }, webgpu: {}, gpujs: {} };
const RUNS = 20;

describe('conformance in a page', () => {
  let browser: Browser | string = 'not started';
  let session: Session<typeof inPage>;

  before(async () => {
    browser = await startBrowser({ webgpu: true });
    if (typeof browser === 'string') return;
    session = await Session.open(browser, '/dist/test/conformance/inPage.js', { isolated: true });
  });

  after(async () => {
    if (typeof browser === 'string') return;
    await session.close();
    await browser.close();
  });

  for (const [name, options] of Object.entries(BACKENDS)) {
    describe(name, () => {
      let missing: string | null = null;
      before(async () => {
        missing = typeof browser === 'string' ? browser : await session.call('load', name, options);
      });
      after(async () => {
        if (missing === null) await session.call('end', name);
      });
      for (const op of testedOps()) {
        it(`${op} (${name}, in a page)`, async (t) => {
          if (missing !== null) return t.skip(missing);
          const { failures } = await session.call('conformance', op, name, { runs: RUNS, grids: 'huge' });
          assert.equal(failures.join('\n'), '');
        });
      }
    });
  }

  it('nothing complained', (t) => {
    if (typeof browser === 'string') return t.skip(browser);
    assert.deepEqual(session.complaints, []);
  });
});

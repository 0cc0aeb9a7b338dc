/** Every op on every backend of a page against the oracle, in Chromium. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import '../../index.js';
import type { BackendOptions } from '../../backends/index.js';
import { startBrowser } from '../page/browser.js';
import { Session } from '../page/session.js';
import type { Effort } from './cases.js';
import type * as inPage from './inPage.js';
import { testedOps } from './report.js';

/** A GPU in software takes long over each new kernel. */
const BACKENDS: Readonly<Record<string, { readonly options: BackendOptions; readonly effort: Effort }>> = {
  wasm: { options: { threads: 2 }, effort: { runs: 10, layouts: 'every', grids: 'huge' } },
  webgpu: { options: {}, effort: { runs: 4, layouts: 'some', grids: 'huge' } },
  gpujs: { options: {}, effort: { runs: 4, layouts: 'some', grids: 'rows' } },
};

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

  for (const [name, { options, effort }] of Object.entries(BACKENDS)) {
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
          const { failures } = await session.call('conformance', op, name, effort);
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

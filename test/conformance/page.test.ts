/** Every op on every backend of a page, in Chromium. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import '../../index.js';
import { startBrowser } from '../page/browser.js';
import { Session } from '../page/session.js';
import type * as inPage from './inPage.js';
import { testedOps } from './report.js';

const MODULE = '/dist/test/conformance/inPage.js';

for (const name of ['wasm']) {
  describe(`conformance of ${name} in a page`, () => {
    let browser: Browser | string = 'not started';
    let session: Session<typeof inPage>;
    before(async () => {
      browser = await startBrowser();
      if (typeof browser !== 'string') session = await Session.open(browser, MODULE, { isolated: true });
    });
    after(async () => {
      if (typeof browser === 'string') return;
      await session.close();
      await browser.close();
    });
    for (const op of testedOps()) {
      it(`${op} (${name} in a page)`, async (t) => {
        if (typeof browser === 'string') return t.skip(browser);
        const { failures } = await session.call('conformance', op, name, { threads: 2 }, { runs: 20, huge: true });
        assert.equal(failures.join('\n'), '');
      });
    }
  });
}

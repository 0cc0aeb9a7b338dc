/** The numbers of the PyTorch reference on the GPU backends: in a page, and with the command in Node. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import type { ParityCase } from '../../beit3/index.js';
import { beit3 } from '../cli/command.js';
import { startBrowser } from '../page/browser.js';
import { Session } from '../page/session.js';
import { TESTED, tested } from '../support/backends.js';
import { fixture } from '../support/fixtures.js';
import type * as inPage from './inPage.js';

const DUMPS = (await readdir(fixture('parity'))).sort();

/** Most that the norm of a difference may be of the norm of the reference. */
interface Limits {
  readonly outputs: number;
  readonly gradients: number;
}

const LIMITS: Readonly<Record<string, Limits>> = {
  webgpu: { outputs: 1e-4, gradients: 1e-3 },
  gpujs: { outputs: 1e-3, gradients: 1e-3 },
};

/** Without a gradient in theory, and so moved by the signs of the reference's rounding errors. */
const isNoise = (task: string, name: string) => task.startsWith('optimizer') && name.endsWith('k_proj.A.bias');

function assertWithin({ task, error, outputs, hidden, grads }: ParityCase, limits: Limits): void {
  assert.equal(error, undefined);
  const groups = [
    ...Object.entries({ ...outputs, ...hidden }).map(([name, c]) => ({ name, ...c, limit: limits.outputs })),
    ...Object.entries(grads).map(([name, c]) => ({ name, ...c, limit: limits.gradients })),
  ];
  assert.ok(groups.length > 0, 'nothing was compared');
  const outside = groups.filter(({ name, ok, relNorm, limit }) => !(isNoise(task, name) ? ok : relNorm <= limit));
  assert.deepEqual(outside, []);
}

describe('parity in a page', () => {
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

  for (const [name, limits] of Object.entries(LIMITS)) {
    describe(name, () => {
      let missing: string | null = null;
      before(async () => {
        missing = typeof browser === 'string' ? browser : await session.call('load', name, {});
      });
      after(async () => {
        if (missing === null) await session.call('end', name);
      });
      for (const dump of DUMPS) {
        it(`${dump} (${name}, in a page)`, async (t) => {
          if (missing !== null) return t.skip(missing);
          assertWithin(await session.call('parity', `/test/fixtures/parity/${dump}`, name), limits);
        });
      }
    });
  }
});

it('beit3 parity holds on webgpu', async (t) => {
  const backend = await tested('webgpu');
  if (typeof backend === 'string') return t.skip(backend);
  const files = DUMPS.map((name) => fixture(`parity/${name}`));
  const device = ['--device', 'webgpu', '--adapter', TESTED.webgpu.adapter ?? ''];
  const { code, stdout, stderr } = await beit3(['parity', ...files, ...device, '--json'], { limit: 300_000 });
  assert.deepEqual([code, stderr], [0, ''], stdout);
  const { ok, cases } = JSON.parse(stdout) as { ok: boolean; cases: ParityCase[] };
  assert.deepEqual([ok, cases.length], [true, DUMPS.length]);
  assert.ok(cases.every((c) => c.device === 'webgpu'));
});

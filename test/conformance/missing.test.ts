/** Pages and adapters that lack something: each computes right, or says in one sentence what is missing. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Browser } from 'playwright-core';
import { startBrowser } from '../page/browser.js';
import { Session } from '../page/session.js';
import type * as inPage from './inPage.js';

const SENTENCE = /^[A-Z][^.\n]*\.$/;
/** Ops that have kernels of their own, with many operands or much workgroup memory. */
const OPS = ['add', 'adamwStep', 'attention', 'crossEntropy', 'layerNorm', 'linear', 'matmul', 'multiwayLinear', 'sum'];

/** What every WebGPU adapter has, and no more. */
const POOREST = `
  const limits = {
    maxBufferSize: 2 ** 28,
    maxStorageBufferBindingSize: 2 ** 27,
    maxStorageBuffersPerShaderStage: 8,
    maxComputeWorkgroupStorageSize: 2 ** 14,
    maxComputeInvocationsPerWorkgroup: 256,
    maxComputeWorkgroupSizeX: 256,
    maxComputeWorkgroupSizeY: 256,
  };
  Object.defineProperty(GPUAdapter.prototype, 'limits', { get: () => limits });
  Object.defineProperty(GPUAdapter.prototype, 'features', { get: () => new Set() });
`;
const WITHOUT_WEBGPU = 'delete Navigator.prototype.gpu;';

describe('in a page that lacks something', () => {
  let browser: Browser | string = 'not started';

  before(async () => {
    browser = await startBrowser({ webgpu: true });
  });
  after(async () => {
    if (typeof browser !== 'string') await browser.close();
  });

  /** Runs in a page that was prepared by a script of its own. */
  const inPrepared = (
    title: string,
    { isolated = true, script = '' },
    run: (session: Session<typeof inPage>, t: TestContext) => Promise<void>,
  ) =>
    it(title, async (t) => {
      if (typeof browser === 'string') return t.skip(browser);
      const session = await Session.open<typeof inPage>(browser, '/dist/test/conformance/inPage.js', { isolated });
      try {
        await session.page.addInitScript(script);
        await session.page.reload();
        await run(session, t);
        assert.deepEqual(session.complaints, []);
      } finally {
        await session.close();
      }
    });

  const assertAgrees = async (session: Session<typeof inPage>, name: string, ops: readonly string[]) => {
    for (const op of ops) {
      const { failures } = await session.call('conformance', op, name, { runs: 5, layouts: 'some', grids: 'usual' });
      assert.deepEqual(failures, [], op);
    }
  };

  inPrepared('without WebGPU, it says so and names what works', { script: WITHOUT_WEBGPU }, async (session) => {
    const missing = await session.call('load', 'webgpu', {});
    assert.match(missing ?? '', SENTENCE);
    assert.match(missing ?? '', /has no WebGPU; use the device gpujs or wasm/);
    assert.equal(await session.call('load', 'wasm', { threads: 2 }), null);
    await assertAgrees(session, 'wasm', ['matmul']);
  });

  inPrepared('without shared memory, one thread computes', { isolated: false }, async (session) => {
    assert.equal(await session.call('load', 'wasm', { threads: 2 }), null);
    assert.equal(await session.page.evaluate('crossOriginIsolated'), false);
    await assertAgrees(session, 'wasm', ['attention', 'matmul']);
  });

  inPrepared('without shared memory, WebGPU computes', { isolated: false }, async (session, t) => {
    const missing = await session.call('load', 'webgpu', {});
    if (missing !== null) return t.skip(missing);
    await assertAgrees(session, 'webgpu', ['add', 'matmul']);
  });

  inPrepared('with the least that an adapter may have, WebGPU computes', { script: POOREST }, async (session, t) => {
    const missing = await session.call('load', 'webgpu', {});
    if (missing !== null) return t.skip(missing);
    // The limits are those that the device was given.
    const { float16, largestTensorMB } = await session.call('details', 'webgpu');
    assert.deepEqual([float16, largestTensorMB], [false, 256]);
    await assertAgrees(session, 'webgpu', OPS);
    assert.match(
      await session.call('tooLarge', 'webgpu', 2 ** 28 + 4),
      /^This GPU has buffers of at most 256 MB, and a tensor needs \d+ MB; use [^.]+\.$/,
    );
  });
});

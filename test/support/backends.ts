/** Tests on backends: each checks that the memory in use returns to where it was. */
import { after, test } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { ADAPTER, gpuOrReason, TESTED } from './gpu.js';
import { withoutLeak } from './values.js';

export { TESTED, tested } from './gpu.js';
export { readAll, readOne, type Values, withoutLeak } from './values.js';

/** The backends that every test of an op runs on; the first is the oracle. */
export const BACKENDS = ['reference', 'wasm', 'webgpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

const gpu = await gpuOrReason();

/** A test on one backend. */
export function testOn(name: BackendName, title: string, run: (backend: Backend) => void | Promise<void>): void {
  const skip = name === 'webgpu' && typeof gpu === 'string' ? gpu : false;
  test(`${title} (${name})`, { skip }, async () => {
    const backend = await useBackend(name, { threads: 2, adapter: ADAPTER });
    await withoutLeak(backend, () => run(backend));
  });
}

/** The same test on every backend. */
export function testEach(title: string, run: (backend: Backend) => void | Promise<void>): void {
  for (const name of BACKENDS) testOn(name, title, run);
}

after(async () => {
  for (const name of new Set([...BACKENDS, ...Object.keys(TESTED)])) await disposeBackend(name);
});

/** Tests on backends: each checks that the memory in use returns to where it was. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import type { Tensor } from '../../core/tensor.js';

/** The backends that every test of an op runs on; the first is the oracle. */
export const BACKENDS = ['reference', 'wasm'] as const;
export type BackendName = (typeof BACKENDS)[number];

/** A test on one backend. */
export function testOn(name: BackendName, title: string, run: (backend: Backend) => void | Promise<void>): void {
  test(`${title} (${name})`, async () => {
    const backend = await useBackend(name, { threads: 2 });
    await withoutLeak(backend, () => run(backend));
  });
}

/** The same test on every backend. */
export function testEach(title: string, run: (backend: Backend) => void | Promise<void>): void {
  for (const name of BACKENDS) testOn(name, title, run);
}

/** Fails when `run` leaves more or less memory in use than there was. */
export async function withoutLeak<T>(backend: Backend, run: () => T | Promise<T>): Promise<T> {
  const { liveBytes, liveBlocks } = backend.stats;
  const result = await run();
  const now = backend.stats;
  assert.deepEqual([now.liveBytes, now.liveBlocks], [liveBytes, liveBlocks], 'bytes and blocks in use have changed');
  return result;
}

after(async () => {
  for (const name of BACKENDS) await disposeBackend(name);
});

/** Values that came back from a backend. */
export interface Values {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly data: ArrayLike<number>;
}

/** Runs `fn` in a scope, reads the tensors that it returns and frees everything. */
export async function readAll<K extends string>(fn: () => Record<K, Tensor>): Promise<Record<K, Values>> {
  const tensors: Record<string, Tensor> = scope(fn);
  try {
    const out: Record<string, Values> = {};
    for (const [name, t] of Object.entries(tensors))
      out[name] = { shape: t.shape, dtype: t.dtype, data: await t.data() };
    return out as Record<K, Values>;
  } finally {
    for (const t of Object.values(tensors)) t.dispose();
  }
}

/** The same for one tensor. */
export const readOne = async (fn: () => Tensor): Promise<Values> => (await readAll(() => ({ result: fn() }))).result;

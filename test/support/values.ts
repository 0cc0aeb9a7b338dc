/** What came back from a backend, and the memory that it took. Runs in Node and in a page. */
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import type { Tensor } from '../../core/tensor.js';

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

/** Fails when `run` leaves more or less memory in use than there was. */
export async function withoutLeak<T>(backend: Backend, run: () => T | Promise<T>): Promise<T> {
  const { liveBytes, liveBlocks } = backend.stats;
  const result = await run();
  const now = backend.stats;
  if (now.liveBytes !== liveBytes || now.liveBlocks !== liveBlocks) {
    throw new Error(
      `memory in use has changed: from ${liveBytes} bytes in ${liveBlocks} blocks to ${now.liveBytes} bytes in ${now.liveBlocks}`,
    );
  }
  return result;
}

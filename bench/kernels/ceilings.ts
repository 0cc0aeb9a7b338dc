/** Measured ceilings of a backend: what its per cents are of. */

import type { Backend, Ceilings } from '../../core/backend.js';
import { contiguousStrides } from '../../core/layout.js';
import { scope } from '../../core/memory.js';
import { matmul } from '../../core/ops/index.js';
import { tensor } from '../../core/tensor.js';

export interface Ceiling extends Ceilings {
  /** How it was measured. */
  readonly how: string;
}

/** What the backend measures itself, or what its own best product and copy reach. */
export async function ceilingOf(backend: Backend, quick: boolean): Promise<Ceiling> {
  if (!backend.ceilings) return measured(backend, quick);
  return { ...(await backend.ceilings()), how: 'multiply-adds in a loop; a copy' };
}

/** The best block of a matrix product, and the best copy, that the backend itself reaches. */
async function measured(backend: Backend, quick: boolean): Promise<Ceiling> {
  const seconds = quick ? 0.05 : 0.3;
  let float32 = 0;
  for (const n of [32, 128, 256, 512]) {
    const [a, b] = [1, 2].map((seed) =>
      tensor(
        Float32Array.from({ length: n * n }, (_, i) => Math.sin(i * seed)),
        { shape: [n, n], backend },
      ),
    );
    const took = await fastest(seconds, backend, () => scope(() => void matmul(a, b)));
    a.dispose();
    b.dispose();
    float32 = Math.max(float32, (2 * n ** 3) / took);
    // Larger blocks would take too long.
    if (took > seconds) break;
  }
  let bandwidth = 0;
  for (const bytes of [2 ** 16, 2 ** 24, 2 ** 26]) {
    const shape = [bytes / 4];
    const [source, target] = [0, 1].map(() => ({
      block: backend.alloc(bytes),
      dtype: 'float32' as const,
      shape,
      strides: contiguousStrides(shape),
      offset: 0,
    }));
    backend.copy(source, target);
    const took = await fastest(seconds, backend, () => backend.copy(source, target));
    backend.free(source.block);
    backend.free(target.block);
    // The largest that is not too slow: a smaller one may lie in a cache.
    bandwidth = (2 * bytes) / took;
    if (took > seconds / 4) break;
  }
  return { float32, float16: null, matrix: null, bandwidth, how: 'the best block of a matrix product; a copy' };
}

/** Seconds of the fastest call within about `seconds`. */
async function fastest(seconds: number, backend: Backend, call: () => void): Promise<number> {
  // The first call also starts threads and compiles kernels.
  call();
  await backend.sync();
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + seconds * 1000;
  do {
    const start = performance.now();
    call();
    await backend.sync();
    best = Math.min(best, (performance.now() - start) / 1000);
  } while (performance.now() < end);
  return best;
}

/** Memory for what one kernel hands to the next. */
import type { View } from '../../core/backend.js';
import { bytesOf, type DType } from '../../core/dtype.js';
import { contiguousStrides, sizeOf } from '../../core/layout.js';
import type { Runtime } from './runtime.js';

/** A contiguous array at the start of its block. */
export interface Wanted {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Runs `use` with arrays of unspecified content. They go back at once: the queue keeps what follows behind. */
export function withScratch<T>(rt: Runtime, wanted: readonly Wanted[], use: (...views: View[]) => T): T {
  const blocks = wanted.map(({ dtype, shape }) => rt.memory.alloc(Math.max(4, bytesOf(dtype) * sizeOf(shape)), false));
  try {
    return use(
      ...wanted.map(({ dtype, shape }, i) => ({
        block: blocks[i],
        dtype,
        shape,
        strides: contiguousStrides(shape),
        offset: 0,
      })),
    );
  } finally {
    for (const block of blocks) rt.memory.free(block);
  }
}

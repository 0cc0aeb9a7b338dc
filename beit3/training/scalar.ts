import type { Tensor } from '../../core/tensor.js';

/** The number in a scalar, which is freed; 0 where there is none. */
export async function takeItem(t: Tensor | null): Promise<number> {
  if (t === null) return 0;
  try {
    return await t.item();
  } finally {
    t.dispose();
  }
}

/** Batched product of any strides. */
import type { Kernel, View } from '../../../core/backend.js';
import { multiplySimply } from '../gemm/simple.js';
import type { Runtime } from '../runtime.js';

export function matmul(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs) {
      const [a, b] = inputs as [View, View];
      return ([y]) => multiplySimply(rt, a, b, y);
    },
  };
}

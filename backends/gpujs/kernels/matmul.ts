/** Batched matrix products of operands of any strides. */
import type { Kernel, View } from '../../../core/backend.js';
import { broadcastStrides, sizeOf } from '../../../core/layout.js';
import type { Machine } from '../machine.js';
import { planProduct } from '../product.js';

/** Strides over the batch axes of the result. */
function batchStrides(view: View, batch: readonly number[]): number[] {
  return broadcastStrides({ ...view, shape: view.shape.slice(0, -2), strides: view.strides.slice(0, -2) }, batch);
}

export function matmul(machine: Machine): Kernel {
  return {
    strided: true,
    plan(inputs, _, [output]) {
      const [a, b] = inputs as [View, View];
      const { shape } = output;
      if (output.dtype !== 'float32') return null;
      if (sizeOf(shape) === 0) return () => {};
      const batch = shape.slice(0, -2);
      const [aRow, aStep] = a.strides.slice(-2);
      const [bStep, bColumn] = b.strides.slice(-2);
      const run = planProduct(
        machine,
        shape,
        a.shape[a.shape.length - 1],
        { view: a, strides: [...batchStrides(a, batch), aRow, 0], step: aStep },
        { view: b, strides: [...batchStrides(b, batch), 0, bColumn], step: bStep },
      );
      return run && (([out]) => machine.memory.adopt(out, run()));
    },
  };
}

/** Small questions about operands that many kernels ask. */
import type { Spec, View } from '../../../core/backend.js';

/** Whether all operands and results are float32. */
export function allFloat(inputs: readonly (View | null)[], outputs: readonly Spec[] = []): boolean {
  return inputs.every((x) => x === null || x.dtype === 'float32') && outputs.every((y) => y.dtype === 'float32');
}

/** Product of sizes. */
export const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

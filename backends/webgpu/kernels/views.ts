/** What kernels ask of their operands. */
import type { Spec } from '../../../core/backend.js';
import type { AdapterFacts } from '../device.js';

/** Whether operands and results are all of dtypes that the GPU computes: float32, and float16 where it can. */
export const allFloat = ({ half }: AdapterFacts, ...groups: readonly (readonly (Spec | null)[])[]): boolean =>
  groups.flat().every((s) => s === null || s.dtype === 'float32' || (half && s.dtype === 'float16'));

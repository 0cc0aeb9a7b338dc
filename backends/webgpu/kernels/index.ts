/** All kernels by the name of their op. */
import type { Kernel } from '../../../core/backend.js';
import type { Runtime } from '../runtime.js';
import { fill } from './fill.js';
import { matmul } from './matmul.js';

type Factory = (rt: Runtime) => Kernel;

const FACTORIES: Readonly<Record<string, Factory>> = {
  fill,
  matmul,
};

export function createKernels(rt: Runtime): ReadonlyMap<string, Kernel> {
  return new Map(Object.entries(FACTORIES).map(([name, make]) => [name, make(rt)]));
}

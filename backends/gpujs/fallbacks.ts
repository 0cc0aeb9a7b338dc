/** Ops that run as the reference does because there is no program for them, or none for the operands at hand. */
import type { Kernel } from '../../core/backend.js';
import { definedOps } from '../../core/op.js';
import { warn } from '../../core/runtime.js';

/** A case that no kernel handles. */
const NONE: Kernel = { strided: true, plan: () => null };

export class Fallbacks {
  readonly #told = new Set<string>();

  /** A kernel that says once when its op runs as a plain loop. */
  told(name: string, kernel: Kernel | null): Kernel {
    const inner = kernel ?? NONE;
    return {
      strided: inner.strided,
      plan: (inputs, attrs, outputs) => {
        const run = inner.plan(inputs, attrs, outputs);
        if (run === null && !this.#told.has(name)) {
          this.#told.add(name);
          const kinds = [...inputs, ...outputs].flatMap((s) => (s ? [s.dtype] : []));
          warn(
            `The gpujs backend has no kernel for ${name} on ${[...new Set(kinds)].join(', ')}; it runs as the reference does, on the processor.`,
          );
        }
        return run;
      },
    };
  }

  /** `kernels`, with every op that is defined by a plain loop. */
  complete(kernels: ReadonlyMap<string, Kernel>): ReadonlyMap<string, Kernel> {
    const all = new Map(kernels);
    for (const [name, op] of definedOps()) {
      if (op.reference) all.set(name, this.told(name, kernels.get(name) ?? null));
    }
    return all;
  }
}

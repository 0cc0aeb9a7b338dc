/** Ops that run as the reference does because there is no program for them, or none for the operands at hand. */
import type { Kernel } from '../../core/backend.js';
import { definedOps } from '../../core/op.js';
import { warn } from '../../core/runtime.js';

/** A case that no kernel handles. */
const NONE: Kernel = { strided: true, plan: () => null };

/** A function that gives a kernel the voice to say, once for each name, that its op runs as a plain loop. */
export function teller(): (name: string, kernel: Kernel | null) => Kernel {
  const told = new Set<string>();
  return (name, kernel) => {
    const inner = kernel ?? NONE;
    return {
      strided: inner.strided,
      plan: (inputs, attrs, outputs) => {
        const run = inner.plan(inputs, attrs, outputs);
        if (run === null && !told.has(name)) {
          told.add(name);
          const kinds = [...inputs, ...outputs].flatMap((s) => (s ? [s.dtype] : []));
          warn(
            `The gpujs backend has no kernel for ${name} on ${[...new Set(kinds)].join(', ')}; it runs as the reference does, on the processor.`,
          );
        }
        return run;
      },
    };
  };
}

/** Kernels by name. Ops that are defined by a plain loop have one that tells, also where there is no other. */
export class KernelTable extends Map<string, Kernel> {
  readonly #telling = new Map<string, Kernel>();
  constructor(
    kernels: ReadonlyMap<string, Kernel>,
    private readonly tell: (name: string, kernel: Kernel | null) => Kernel,
  ) {
    super(kernels);
  }

  override get(name: string): Kernel | undefined {
    const own = super.get(name);
    // Asked each time: ops may be defined after the backend was made. Others are composed of ops.
    if (!definedOps().get(name)?.reference) return own;
    let kernel = this.#telling.get(name);
    if (!kernel) {
      kernel = this.tell(name, own ?? null);
      this.#telling.set(name, kernel);
    }
    return kernel;
  }
}

/** float16 copies of parameters that their optimiser writes with them, so that mixed precision need not cast them. */
import { type Call, intercept, type Next, ORDER } from '../core/dispatch.js';
import { isContiguous, sameShape } from '../core/layout.js';
import { keep, resident, type Storage } from '../core/memory.js';
import { assign, zeros } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import { watching } from '../core/watch.js';

interface Copy {
  readonly half: Tensor;
  readonly shape: readonly number[];
  /** Of the parameter when both were last the same. */
  version: number;
}

const copies = new WeakMap<Storage, Copy>();

/** The copies that an optimiser keeps. */
export class HalfCopies {
  readonly #owned = new Map<Storage, Copy>();

  /** The copy of a parameter, holding its values of now; null for one that no product of matrices takes. */
  of(parameter: Tensor): Tensor | null {
    const { storage, shape, backend } = parameter;
    if (shape.length < 2 || parameter.offset !== 0 || !isContiguous(parameter)) return null;
    let copy = copies.get(storage);
    if (!copy) {
      const half = resident(() => keep(zeros(shape, { dtype: 'float16', backend })));
      copy = { half, shape, version: -1 };
      copies.set(storage, copy);
      this.#owned.set(storage, copy);
    }
    if (!sameShape(copy.shape, shape)) return null;
    if (copy.version !== storage.version) {
      assign(copy.half, parameter);
      copy.version = storage.version;
    }
    return copy.half;
  }

  /** Call when a step has written a parameter and its copy. */
  written({ storage }: Tensor): void {
    const copy = copies.get(storage);
    if (copy) copy.version = storage.version;
  }

  dispose(): void {
    for (const [storage, { half }] of this.#owned) {
      half.dispose();
      copies.delete(storage);
    }
    this.#owned.clear();
  }
}

/** From now on, until the returned function is called, casts of parameters to float16 take their copies. */
export function useHalfCopies(): () => void {
  return intercept(ORDER.copies, (call: Call, next: Next): Tensor[] => {
    const [x] = call.inputs;
    const isCast = call.op.name === 'cast' && (call.attrs as { dtype?: string }).dtype === 'float16';
    // A captured step would go on with a copy that may be out of date.
    if (!isCast || !x || watching()) return next(call);
    const copy = copies.get(x.storage);
    const holds = copy?.version === x.storage.version && x.offset === 0 && sameShape(copy.shape, x.shape);
    return holds && isContiguous(x) ? [copy.half.detach()] : next(call);
  });
}

/** What kernels work with. */
import type { View } from '../../core/backend.js';
import type { DeviceArray, Engine, Program } from './engine.js';
import type { Memory } from './memory.js';

export interface Machine {
  readonly engine: Engine;
  readonly memory: Memory;
}

/** Device arrays of all views, or null when one of them cannot be there. */
export function place(machine: Machine, views: readonly View[]): DeviceArray[] | null {
  const arrays: DeviceArray[] = [];
  for (const view of views) {
    const array = machine.memory.device(view);
    if (array === null) return null;
    arrays.push(array);
  }
  return arrays;
}

/** Programs by what tells them apart. */
export class Programs {
  readonly #made = new Map<string, Program>();
  get(key: string, make: () => Program): Program {
    let program = this.#made.get(key);
    if (!program) {
      program = make();
      this.#made.set(key, program);
    }
    return program;
  }
}

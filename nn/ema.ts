import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { add, affine, assign, clone } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import type { Module } from './module.js';

/** Exponential moving average of a module's parameters: shadow = decay * shadow + (1 - decay) * parameter. */
export class EMA {
  readonly #shadow: Map<string, Tensor>;

  constructor(
    readonly module: Module,
    readonly decay = 0.9999,
  ) {
    this.#shadow = noGrad(() => new Map(Array.from(module.namedParameters(), ([name, p]) => [name, keep(clone(p))])));
  }

  /** Call after every optimiser step. */
  update(): void {
    noGrad(() => {
      for (const [name, p] of this.module.namedParameters()) {
        const shadow = this.#shadow.get(name) as Tensor;
        scope(() => assign(shadow, add(affine(shadow, this.decay, 0), affine(p, 1 - this.decay, 0))));
      }
    });
  }

  /** The averaged weights by parameter name; they stay the average's own. */
  stateDict(): Map<string, Tensor> {
    return new Map(this.#shadow);
  }

  /** Runs `fn` with the averaged weights in the module, then puts its own back. */
  async with<T>(fn: () => T | Promise<T>): Promise<T> {
    this.#swap();
    try {
      return await fn();
    } finally {
      this.#swap();
    }
  }

  #swap(): void {
    noGrad(() => {
      for (const [name, p] of this.module.namedParameters()) {
        const shadow = this.#shadow.get(name) as Tensor;
        scope(() => {
          const held = clone(p);
          assign(p, shadow);
          assign(shadow, held);
        });
      }
    });
  }

  dispose(): void {
    for (const t of this.#shadow.values()) t.dispose();
  }
}

import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { widen } from '../core/ops/fused.js';
import { add, affine, assign, cast, clone } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import type { Module } from './module.js';

/**
 * Exponential moving average of a module's parameters: shadow = decay * shadow + (1 - decay) * parameter. Averages of
 * 16-bit parameters are float32: a step of 1 - decay is less than a 16-bit float can tell.
 */
export class EMA {
  readonly #shadow: Map<string, Tensor>;

  constructor(
    readonly module: Module,
    readonly decay = 0.9999,
  ) {
    this.#shadow = noGrad(
      () =>
        new Map(
          Array.from(module.namedParameters(), ([name, p]) => {
            const wide = widen(p);
            return [name, keep(wide === p ? clone(p) : wide)];
          }),
        ),
    );
  }

  /** Call after every optimiser step. */
  update(): void {
    noGrad(() => {
      for (const [name, p] of this.module.namedParameters()) {
        const shadow = this.#shadow.get(name) as Tensor;
        scope(() =>
          assign(shadow, add(affine(shadow, this.decay, 0), affine(cast(p, shadow.dtype), 1 - this.decay, 0))),
        );
      }
    });
  }

  /** The averaged weights by parameter name; they stay the average's own. */
  stateDict(): Map<string, Tensor> {
    return new Map(this.#shadow);
  }

  /** Runs `fn` with the averaged weights in the module, then puts its own back. */
  async with<T>(fn: () => T | Promise<T>): Promise<T> {
    // Where 16-bit weights wait, so that no average is rounded; the others change places with theirs.
    const aside = new Map<string, Tensor>();
    this.#swap((name, held) => aside.set(name, keep(held)));
    try {
      return await fn();
    } finally {
      this.#swap((name, _, p) => assign(p, aside.get(name) as Tensor));
      for (const t of aside.values()) t.dispose();
    }
  }

  /** Gives weights and averages to each other; `other` is called for weights of another dtype, after theirs were replaced. */
  #swap(other: (name: string, held: Tensor, parameter: Tensor) => void): void {
    noGrad(() => {
      for (const [name, p] of this.module.namedParameters()) {
        const shadow = this.#shadow.get(name) as Tensor;
        scope(() => {
          const held = clone(p);
          assign(p, shadow);
          if (p.dtype === shadow.dtype) assign(shadow, held);
          else other(name, held, p);
        });
      }
    });
  }

  dispose(): void {
    for (const t of this.#shadow.values()) t.dispose();
  }
}

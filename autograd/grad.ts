import { OpError } from '../core/errors.js';
import { keep, scope, track } from '../core/memory.js';
import { enableGrad } from '../core/modes.js';
import { zeros } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import { backward } from './backward.js';

/**
 * The function that gives a scalar function's value and its gradients with respect to its tensor arguments. The
 * arguments' own `grad` is not touched; everything made inside but the results is freed.
 */
export function valueAndGrad<A extends readonly Tensor[]>(
  fn: (...inputs: A) => Tensor,
): (...inputs: A) => { value: Tensor; grads: Tensor[] } {
  return (...inputs) =>
    scope(() => {
      const leaves = inputs.map((t) => t.detach().requireGrad());
      const value = enableGrad(() => fn(...(leaves as unknown as A)));
      if (value.size !== 1) throw new OpError('grad', `expected a function with one number as result, got ${value}`);
      if (value.requiresGrad) backward(value);
      const grads = leaves.map((leaf) => {
        const g = leaf.grad ?? zeros(leaf.shape, { dtype: leaf.dtype, backend: leaf.backend });
        // The leaf dies with the scope; its gradient is the result and goes to the caller's scope.
        leaf.grad = null;
        track(g);
        return g;
      });
      return { value: value.detach(), grads };
    });
}

/** The gradients of a scalar function with respect to its tensor arguments. */
export function grad<A extends readonly Tensor[]>(fn: (...inputs: A) => Tensor): (...inputs: A) => Tensor[] {
  const both = valueAndGrad(fn);
  return (...inputs) => {
    const { value, grads } = both(...inputs);
    value.dispose();
    return grads;
  };
}

/** Keeps a gradient that a leaf holds when the leaf itself goes: the caller owns it. */
export function takeGrad(leaf: Tensor): Tensor | null {
  const g = leaf.grad;
  leaf.grad = null;
  return g && keep(g);
}

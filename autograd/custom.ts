import { isFloat } from '../core/dtype.js';
import { keep, scope, track } from '../core/memory.js';
import { enableGrad, isGradEnabled, noGrad } from '../core/modes.js';
import type { Operand } from '../core/op.js';
import { defaultGenerator } from '../core/random.js';
import type { Tensor } from '../core/tensor.js';
import { propagate } from './backward.js';
import { edgeOf, Node, record } from './node.js';

export interface CustomFunction {
  /** Computes the outputs, unrecorded; `saved` is kept until backward. */
  forward(...inputs: Tensor[]): { readonly outputs: readonly Tensor[]; readonly saved?: readonly Operand[] };
  /** Gradients of the inputs (null: none) from those of the outputs (null: unused). */
  backward(grads: readonly Operand[], saved: readonly Operand[]): readonly Operand[];
  readonly name?: string;
}

/** A differentiable function with a gradient rule of its own. */
export function customFunction(definition: CustomFunction): (...inputs: Tensor[]) => Tensor[] {
  return (...inputs) =>
    scope(() => {
      const { outputs: made, saved = [] } = noGrad(() => definition.forward(...inputs));
      // Handles of our own: what `forward` returns may be an input, the same twice, or a tensor of the caller's.
      const outputs = made.map((t) => t.detach());
      if (!isGradEnabled() || !inputs.some((t) => t.requiresGrad)) return outputs;
      const rule = (grads: readonly Operand[], kept: readonly Operand[]) =>
        definition.backward(grads, kept).map((g) => g && (() => g.detach()));
      const specs = inputs.map((t) => ({ dtype: t.dtype, shape: t.shape }));
      // Nothing would hang on a node without differentiable outputs, and nothing would release it.
      if (!outputs.some((t) => isFloat(t.dtype))) return outputs;
      const node = new Node(
        definition.name ?? 'customFunction',
        specs,
        outputs.length,
        inputs.map(edgeOf),
        saved,
        rule,
      );
      record(node, outputs, (i) => isFloat(outputs[i].dtype));
      return outputs;
    });
}

/**
 * Activation checkpointing (Chen et al. 2016): runs `fn` without keeping what backward needs, and runs it again in
 * backward. Random numbers from the default generator repeat. Parameters used inside get their gradients as usual; other
 * tensors that `fn` uses must live until backward, and computed ones that require gradients must be among its inputs.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  if (!isGradEnabled()) return fn(...inputs);
  const generator = defaultGenerator();
  const state = generator.state();
  // A handle of our own: `fn` may return an input, a parameter, or a tensor of the caller's.
  const output = noGrad(() => scope(() => fn(...inputs).detach()));
  const edges = inputs.map(edgeOf);
  const specs = inputs.map((t) => ({ dtype: t.dtype, shape: t.shape }));
  const backward = (grads: readonly Operand[], saved: readonly Operand[]) => {
    const now = generator.state();
    generator.restore(state);
    const leaves = saved.map((t, i) => {
      const leaf = (t as Tensor).detach();
      return edges[i] ? leaf.requireGrad() : leaf;
    });
    let again: Tensor;
    try {
      again = enableGrad(() => fn(...leaves));
    } finally {
      generator.restore(now);
    }
    const edge = edgeOf(again);
    if (edge) propagate([{ edge, gradient: keep((grads[0] as Tensor).detach()) }], false);
    return leaves.map((leaf) => {
      const g = leaf.grad;
      leaf.grad = null;
      if (g) track(g);
      return g && (() => g);
    });
  };
  record(new Node('checkpoint', specs, 1, edges, inputs, backward), [output], () => true);
  return output;
}

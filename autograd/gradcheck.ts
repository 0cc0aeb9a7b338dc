import { InputError } from '../core/errors.js';
import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { add, mul, sum } from '../core/ops/index.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { backward } from './backward.js';

export interface GradcheckOptions {
  /** Step of the central difference. */
  readonly eps?: number;
  /** Largest allowed |numeric - analytic| / max(1, |numeric|). */
  readonly tolerance?: number;
}

/**
 * Compares the gradients of `fn` with central differences in float64, under a fixed random weighting of its outputs.
 * `inputs` are float64 tensors of the reference backend; those that require gradients are checked.
 * Resolves to the largest error; throws when it is above the tolerance.
 */
export async function gradcheck(
  fn: (...inputs: Tensor[]) => Tensor | readonly Tensor[],
  inputs: readonly Tensor[],
  { eps = 1e-6, tolerance = 1e-6 }: GradcheckOptions = {},
): Promise<number> {
  for (const t of inputs) {
    if (t.requiresGrad && t.dtype !== 'float64') throw new InputError(`gradcheck expected float64 inputs, got ${t}.`);
  }
  const weights = new Map<number, Tensor>();
  const objective = (args: readonly Tensor[]): Tensor => {
    const result = fn(...args);
    const outputs = Array.isArray(result) ? (result as Tensor[]) : [result as Tensor];
    return outputs
      .filter((t) => t.dtype === 'float64')
      .map((t, i) => sum(mul(t, weightOf(i, t))))
      .reduce((a, b) => add(a, b));
  };
  const weightOf = (i: number, like: Tensor): Tensor => {
    let w = weights.get(i);
    if (!w) {
      // Any fixed numbers without symmetry do.
      const values = Float64Array.from({ length: like.size }, (_, k) => Math.sin(k * 12.9898 + i * 78.233 + 1) + 0.3);
      w = keep(tensor(values, { shape: like.shape, backend: like.backend }));
      weights.set(i, w);
    }
    return w;
  };
  const evaluate = async (args: readonly Tensor[]): Promise<number> => {
    const value = scope(() => noGrad(() => objective(args)));
    const number = await value.item();
    value.dispose();
    return number;
  };

  let worst = 0;
  const analytic = scope(() => {
    const leaves = inputs.map((t) => (t.requiresGrad ? t.detach().requireGrad() : t.detach()));
    const value = objective(leaves);
    if (value.requiresGrad) backward(value);
    return leaves.map((leaf) => {
      const g = leaf.grad;
      leaf.grad = null;
      return g;
    });
  });
  try {
    for (let k = 0; k < inputs.length; k++) {
      if (!inputs[k].requiresGrad) continue;
      const grads = analytic[k] ? await (analytic[k] as Tensor).data() : new Float64Array(inputs[k].size);
      const values = Float64Array.from(await inputs[k].data());
      for (let j = 0; j < values.length; j++) {
        const at = async (value: number): Promise<number> => {
          const changed = values.slice();
          changed[j] = value;
          const t = tensor(changed, { shape: inputs[k].shape, backend: inputs[k].backend });
          try {
            return await evaluate(inputs.map((x, i) => (i === k ? t : x)));
          } finally {
            t.dispose();
          }
        };
        const numeric = ((await at(values[j] + eps)) - (await at(values[j] - eps))) / (2 * eps);
        const error = Math.abs(numeric - grads[j]) / Math.max(1, Math.abs(numeric));
        worst = Math.max(worst, error);
        if (!(error <= tolerance)) {
          throw new Error(
            `gradcheck: input ${k}, element ${j}: backward gave ${grads[j]}, differences give ${numeric} (error ${error})`,
          );
        }
      }
    }
  } finally {
    for (const g of analytic) g?.dispose();
    for (const w of weights.values()) w.dispose();
  }
  return worst;
}

import type { Attrs, Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { isContiguous, sizeOf } from '../layout.js';
import { noGrad } from '../modes.js';
import { defineOp, type Flat } from '../op.js';
import type { Tensor } from '../tensor.js';
import { varying } from '../watch.js';
import { expectShape, floatOf } from './fused.js';
import { formatSpec } from './rules.js';

export interface AdamWStepOptions {
  /** Learning rate of each parameter. */
  readonly lr: readonly number[];
  /** Decay of each parameter, which is multiplied with its learning rate. */
  readonly weightDecay: readonly number[];
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** Counts from 1. */
  readonly step: number;
  /** Gradients are scaled by min(1, maxNorm / (norm + 1e-6)); 0: not. */
  readonly maxNorm: number;
}

export interface AdamWStepAttrs extends AdamWStepOptions {
  readonly count: number;
}

const op = defineOp<AdamWStepAttrs>({
  name: 'adamwStep',
  infer(inputs, { count, lr, weightDecay, step, maxNorm }) {
    const fail = (message: string): never => {
      throw new OpError('adamwStep', message);
    };
    if (inputs.length !== 4 * count + 1 || lr.length !== count || weightDecay.length !== count) {
      fail(`expected ${count} parameters, gradients, first and second moments, rates and decays`);
    }
    if (!Number.isInteger(step) || step < 1) fail(`expected a step of 1 or more, got ${step}`);
    if (maxNorm > 0 !== (inputs[4 * count] !== null)) fail('expected a norm and maxNorm together');
    expectShape('adamwStep', 'a norm', inputs[4 * count], []);
    for (let i = 0; i < count; i++) {
      const p = inputs[i] as Spec;
      for (const k of [1, 2, 3]) expectShape('adamwStep', 'gradients and moments', inputs[i + k * count], p.shape);
      for (const s of [p, inputs[i + 2 * count], inputs[i + 3 * count]]) {
        // What is written in place can't be a widened copy.
        if (s?.dtype !== 'float32' && s?.dtype !== 'float64') {
          fail(`expected float32 parameters and moments, got ${formatSpec(s)}; keep a float32 master copy`);
        }
      }
    }
    floatOf('adamwStep', inputs);
    return [];
  },
  mutates: ({ count }) => Array.from({ length: 3 * count }, (_, i) => (i < count ? i : i + count)),
  reference(inputs, _, { count, lr, weightDecay, beta1, beta2, eps, step, maxNorm }) {
    const norm = inputs[4 * count]?.values[0];
    const clip = norm === undefined ? 1 : Math.min(1, maxNorm / (norm + 1e-6));
    const correction1 = 1 - beta1 ** step;
    const correction2 = Math.sqrt(1 - beta2 ** step);
    for (let i = 0; i < count; i++) {
      const [p, g, m, v] = [0, 1, 2, 3].map((k) => (inputs[i + k * count] as Flat).values);
      for (let j = 0; j < p.length; j++) {
        const gradient = g[j] * clip;
        m[j] = beta1 * m[j] + (1 - beta1) * gradient;
        v[j] = beta2 * v[j] + (1 - beta2) * gradient * gradient;
        p[j] *= 1 - lr[i] * weightDecay[i];
        p[j] -= ((lr[i] / correction1) * m[j]) / (Math.sqrt(v[j]) / correction2 + eps);
      }
    }
  },
  nonDifferentiable: 'it writes in place',
  cost: (inputs) => inputs.reduce((n, s) => n + 4 * sizeOf(s?.shape ?? [0]), 0),
  samples: () => {
    const shapes = [[3, 5], [7]];
    const state = shapes.map((shape) => ({ shape, dtype: 'float32' as const }));
    const squares = state.map((s) => ({ ...s, low: 0, high: 0.5 }));
    const inputs = [...state, ...shapes.map((shape) => ({ shape })), ...state, ...squares];
    const attrs = { count: 2, lr: [1e-2, 1e-3], weightDecay: [0.1, 0], beta1: 0.9, beta2: 0.98, eps: 1e-6 };
    return [
      { inputs: [...inputs, null], attrs: { ...attrs, step: 3, maxNorm: 0 } },
      { inputs: [...inputs, { shape: [], low: 3, high: 4 }], attrs: { ...attrs, step: 1, maxNorm: 1 } },
    ];
  },
});

/**
 * One AdamW step (Loshchilov & Hutter 2019, arithmetic of torch.optim.AdamW) over all parameters at once; parameters
 * and moments are changed in place. `norm` is the gradients' globalNorm when they are clipped, else null. `replayed` is
 * for steps that are captured: `current` gives the options of a replay, and `constants` are what it does not follow.
 */
export function adamwStep(
  parameters: readonly Tensor[],
  gradients: readonly Tensor[],
  firstMoments: readonly Tensor[],
  secondMoments: readonly Tensor[],
  norm: Tensor | null,
  options: AdamWStepOptions,
  replayed?: { readonly current: () => AdamWStepOptions; readonly constants: Attrs },
): void {
  for (const t of [...parameters, ...firstMoments, ...secondMoments]) {
    if (!isContiguous(t))
      throw new OpError('adamwStep', `expected contiguous parameters and moments, got ${t} with gaps`);
  }
  const count = parameters.length;
  const attrs: AdamWStepAttrs = { ...options, count };
  if (replayed) varying(attrs, () => ({ ...replayed.current(), count }), replayed.constants);
  noGrad(() => call(op, [...parameters, ...gradients, ...firstMoments, ...secondMoments, norm], attrs));
}

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
  /** What the gradients and their norm were multiplied with (a loss scale); they are divided by it. Default 1. */
  readonly scale?: number;
  /** Whether nothing changes when the norm is not finite. */
  readonly skipNonFinite?: boolean;
}

export interface AdamWStepAttrs extends AdamWStepOptions {
  readonly count: number;
  /** Whether float16 copies of parameters follow the norm. */
  readonly copies?: boolean;
}

const op = defineOp<AdamWStepAttrs>({
  name: 'adamwStep',
  infer(inputs, { count, lr, weightDecay, step, maxNorm, scale = 1, skipNonFinite = false, copies = false }) {
    const fail = (message: string): never => {
      throw new OpError('adamwStep', message);
    };
    if (inputs.length !== (copies ? 5 : 4) * count + 1 || lr.length !== count || weightDecay.length !== count) {
      fail(`expected ${count} parameters, gradients, first and second moments, rates and decays`);
    }
    if (!Number.isInteger(step) || step < 1) fail(`expected a step of 1 or more, got ${step}`);
    if (!(scale > 0 && Number.isFinite(scale))) fail(`expected a scale above 0, got ${scale}`);
    const wantsNorm = maxNorm > 0 || skipNonFinite;
    if (wantsNorm !== (inputs[4 * count] !== null))
      fail('expected a norm where it is used (maxNorm, skipNonFinite), and nowhere else');
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
    for (let i = 0; copies && i < count; i++) {
      const half = inputs[4 * count + 1 + i];
      expectShape('adamwStep', 'copies of parameters', half, (inputs[i] as Spec).shape);
      if (half && half.dtype !== 'float16') fail(`expected float16 copies of parameters, got ${formatSpec(half)}`);
    }
    floatOf('adamwStep', inputs);
    return [];
  },
  mutates: ({ count, copies = false }) => [
    ...Array.from({ length: 3 * count }, (_, i) => (i < count ? i : i + count)),
    ...Array.from({ length: copies ? count : 0 }, (_, i) => 4 * count + 1 + i),
  ],
  reference(inputs, _, attrs) {
    const { count, lr, weightDecay, beta1, beta2, eps, step, maxNorm, scale = 1, skipNonFinite = false } = attrs;
    const given = inputs[4 * count]?.values[0];
    const norm = given === undefined ? undefined : given / scale;
    if (skipNonFinite && !Number.isFinite(norm)) return;
    const clip = (norm === undefined || maxNorm === 0 ? 1 : Math.min(1, maxNorm / (norm + 1e-6))) / scale;
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
      inputs[4 * count + 1 + i]?.values.set(p);
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
      {
        inputs: [...inputs, { shape: [], low: 3, high: 4 }],
        attrs: { ...attrs, step: 2, maxNorm: 0, scale: 8, skipNonFinite: true },
      },
    ];
  },
});

/** What a step takes besides options. */
interface AdamWStepExtras {
  /** For steps that are captured: `current` gives the options of a replay, `constants` are what it does not follow. */
  readonly replayed?: { readonly current: () => AdamWStepOptions; readonly constants: Attrs };
  /** float16 copies of parameters (null where there is none), which are written with them. */
  readonly copies?: readonly (Tensor | null)[];
}

/**
 * One AdamW step (Loshchilov & Hutter 2019, arithmetic of torch.optim.AdamW) over all parameters at once; parameters
 * and moments are changed in place. `norm` is the gradients' globalNorm when they are clipped or may not be finite, else
 * null. Copies need a backend that computes in float16.
 */
export function adamwStep(
  parameters: readonly Tensor[],
  gradients: readonly Tensor[],
  firstMoments: readonly Tensor[],
  secondMoments: readonly Tensor[],
  norm: Tensor | null,
  options: AdamWStepOptions,
  { replayed, copies }: AdamWStepExtras = {},
): void {
  for (const t of [...parameters, ...firstMoments, ...secondMoments, ...(copies ?? [])]) {
    if (t && !isContiguous(t))
      throw new OpError('adamwStep', `expected contiguous parameters and moments, got ${t} with gaps`);
  }
  for (const t of copies ?? []) {
    // A widened copy would be written instead.
    if (t?.backend.caps.storageOnly.has(t.dtype))
      throw new OpError('adamwStep', `expected no ${t.dtype} copies on ${t.backend.name}, which only stores them`);
  }
  const count = parameters.length;
  const own = { count, copies: copies !== undefined };
  const attrs: AdamWStepAttrs = { ...options, ...own };
  if (replayed) varying(attrs, () => ({ ...replayed.current(), ...own }), replayed.constants);
  const inputs = [...parameters, ...gradients, ...firstMoments, ...secondMoments, norm, ...(copies ?? [])];
  noGrad(() => call(op, inputs, attrs));
}

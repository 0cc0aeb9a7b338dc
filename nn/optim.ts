import { InputError } from '../core/errors.js';
import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { adamwStep, add, affine, assign, clamp, globalNorm, mul, reciprocal, zeros } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import type { Parameter } from './builder.js';

export interface ParameterGroup {
  readonly parameters: readonly (readonly [name: string, parameter: Parameter])[];
  /** Factor on the learning rate. */
  readonly lrScale?: number;
  /** Overrides the optimiser's. */
  readonly weightDecay?: number;
}

interface Slot {
  readonly name: string;
  readonly parameter: Parameter;
  readonly lrScale: number;
  readonly weightDecay: number;
}

/** One group of parameters, all with the same settings. */
export type Optimisable = Iterable<readonly [string, Parameter]> | readonly ParameterGroup[];

function slotsOf(given: Optimisable, weightDecay: number): Slot[] {
  const list = [...(given as Iterable<ParameterGroup | readonly [string, Parameter]>)];
  const groups: ParameterGroup[] = list.every((g): g is ParameterGroup => 'parameters' in g)
    ? list
    : [{ parameters: list as (readonly [string, Parameter])[] }];
  const slots = groups.flatMap((g) =>
    g.parameters.map(([name, parameter]) => ({
      name,
      parameter,
      lrScale: g.lrScale ?? 1,
      weightDecay: g.weightDecay ?? weightDecay,
    })),
  );
  if (slots.length === 0) throw new InputError('The optimiser was given no parameters.');
  const names = new Set<string>();
  for (const { name } of slots) {
    if (names.has(name)) throw new InputError(`The parameter ${name} is given to the optimiser twice.`);
    names.add(name);
  }
  return slots;
}

export interface StepOptions {
  /** Learning rate of this step; default: the optimiser's. */
  readonly lr?: number;
  /** Clips the gradients to this L2 norm, all together. */
  readonly maxNorm?: number;
}

abstract class Optimiser {
  lr: number;
  /** Steps taken. */
  steps = 0;
  protected readonly slots: readonly Slot[];

  constructor(parameters: Optimisable, lr: number, weightDecay: number) {
    this.lr = lr;
    this.slots = slotsOf(parameters, weightDecay);
  }

  /**
   * Changes the parameters that have gradients. Resolves nothing: it returns the L2 norm of all gradients before
   * clipping (a scalar tensor the caller owns) when `maxNorm` is given, else null.
   */
  abstract step(options?: StepOptions): Tensor | null;

  /** What besides the weights is needed to go on: tensors by name. They stay the optimiser's own. */
  abstract stateDict(): Map<string, Tensor>;

  zeroGrad(): void {
    for (const { parameter } of this.slots) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  }

  dispose(): void {
    for (const t of this.stateDict().values()) t.dispose();
  }
}

export interface AdamWOptions {
  readonly lr?: number;
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weightDecay?: number;
}

/** AdamW (Loshchilov & Hutter 2019) with PyTorch's arithmetic; the whole step is one kernel. */
export class AdamW extends Optimiser {
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #state = new Map<string, { m: Tensor; v: Tensor }>();

  constructor(
    parameters: Optimisable,
    { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 }: AdamWOptions = {},
  ) {
    super(parameters, lr, weightDecay);
    this.#betas = betas;
    this.#eps = eps;
  }

  step({ lr = this.lr, maxNorm = 0 }: StepOptions = {}): Tensor | null {
    this.steps++;
    const active = this.slots.filter((s) => s.parameter.grad !== null);
    if (active.length === 0) return null;
    const states = active.map((s) => this.#stateOf(s));
    const grads = active.map((s) => s.parameter.grad as Tensor);
    return noGrad(() =>
      scope(() => {
        const norm = maxNorm > 0 ? globalNorm(grads) : null;
        adamwStep(
          active.map((s) => s.parameter),
          grads,
          states.map((s) => s.m),
          states.map((s) => s.v),
          norm,
          {
            lr: active.map((s) => lr * s.lrScale),
            weightDecay: active.map((s) => s.weightDecay),
            beta1: this.#betas[0],
            beta2: this.#betas[1],
            eps: this.#eps,
            step: this.steps,
            maxNorm,
          },
        );
        return norm;
      }),
    );
  }

  #stateOf({ name, parameter }: Slot): { m: Tensor; v: Tensor } {
    let s = this.#state.get(name);
    if (!s) {
      const blank = () => keep(zeros(parameter.shape, { dtype: parameter.dtype, backend: parameter.backend }));
      s = { m: blank(), v: blank() };
      this.#state.set(name, s);
    }
    return s;
  }

  stateDict(): Map<string, Tensor> {
    return new Map(
      [...this.#state].flatMap(([name, { m, v }]) => [
        [`${name}.exp_avg`, m] as const,
        [`${name}.exp_avg_sq`, v] as const,
      ]),
    );
  }

  /** Takes over saved moments and the step count; parameters without saved moments start from zero. */
  loadStateDict(state: ReadonlyMap<string, Tensor>, steps: number): void {
    this.steps = steps;
    for (const slot of this.slots) {
      const m = state.get(`${slot.name}.exp_avg`);
      const v = state.get(`${slot.name}.exp_avg_sq`);
      if (!m || !v) continue;
      const own = this.#stateOf(slot);
      assign(own.m, m);
      assign(own.v, v);
    }
  }
}

export interface SGDOptions {
  readonly lr?: number;
  readonly momentum?: number;
  readonly weightDecay?: number;
  readonly nesterov?: boolean;
}

/** Stochastic gradient descent with momentum, as PyTorch's (the first step's buffer is the gradient itself). */
export class SGD extends Optimiser {
  readonly #options: Required<Omit<SGDOptions, 'lr' | 'weightDecay'>>;
  readonly #momenta = new Map<string, Tensor>();

  constructor(
    parameters: Optimisable,
    { lr = 1e-2, momentum = 0, weightDecay = 0, nesterov = false }: SGDOptions = {},
  ) {
    super(parameters, lr, weightDecay);
    this.#options = { momentum, nesterov };
  }

  step({ lr = this.lr, maxNorm = 0 }: StepOptions = {}): Tensor | null {
    this.steps++;
    const active = this.slots.filter((s) => s.parameter.grad !== null);
    if (active.length === 0) return null;
    return noGrad(() =>
      scope(() => {
        const grads = active.map((s) => s.parameter.grad as Tensor);
        const norm = maxNorm > 0 ? globalNorm(grads) : null;
        const factor = norm ? clipFactor(norm, maxNorm) : null;
        active.forEach((s, i) => {
          const clipped = factor ? mul(grads[i], factor) : grads[i];
          this.#update(s, clipped, lr * s.lrScale);
        });
        return norm;
      }),
    );
  }

  #update({ name, parameter, weightDecay }: Slot, gradient: Tensor, lr: number): void {
    scope(() => {
      const { momentum, nesterov } = this.#options;
      const g = weightDecay === 0 ? gradient : add(gradient, affine(parameter, weightDecay, 0));
      let direction = g;
      if (momentum !== 0) {
        let buffer = this.#momenta.get(name);
        if (buffer) assign(buffer, add(affine(buffer, momentum, 0), g));
        else {
          buffer = keep(affine(g, 1, 0));
          this.#momenta.set(name, buffer);
        }
        direction = nesterov ? add(g, affine(buffer, momentum, 0)) : buffer;
      }
      assign(parameter, add(parameter, affine(direction, -lr, 0)));
    });
  }

  stateDict(): Map<string, Tensor> {
    return new Map([...this.#momenta].map(([name, t]) => [`${name}.momentum_buffer`, t]));
  }
}

/** min(1, maxNorm / (norm + 1e-6)): what gradients are multiplied with to clip them (torch's clip_grad_norm_). */
function clipFactor(norm: Tensor, maxNorm: number): Tensor {
  return clamp(affine(reciprocal(affine(norm, 1, 1e-6)), maxNorm, 0), { max: 1 });
}

/** Scales the gradients of `parameters` in place so that their joint L2 norm is at most `maxNorm`; returns the norm. */
export function clipGradNorm(parameters: readonly Parameter[], maxNorm: number): Tensor {
  const grads = parameters.flatMap((p) => (p.grad ? [p.grad] : []));
  if (grads.length === 0) throw new InputError('clipGradNorm found no gradients; call backward first.');
  return noGrad(() =>
    scope(() => {
      const norm = globalNorm(grads);
      const factor = clipFactor(norm, maxNorm);
      for (const g of grads) assign(g, mul(g, factor));
      return norm;
    }),
  );
}

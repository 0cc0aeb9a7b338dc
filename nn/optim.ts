import { InputError } from '../core/errors.js';
import { sameShape } from '../core/layout.js';
import { keep, resident, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import {
  type AdamWStepOptions,
  adamwStep,
  add,
  affine,
  assign,
  cast,
  clamp,
  clone,
  globalNorm,
  mul,
  reciprocal,
  zeros,
} from '../core/ops/index.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { fresh, onReplay, watching } from '../core/watch.js';
import { computesHalf } from './amp.js';
import { Parameter } from './builder.js';
import { HalfCopies } from './halfCopies.js';

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
  if (list.some((entry) => entry instanceof Parameter))
    throw new InputError('The optimiser expects parameters with their names: model.namedParameters().');
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
  const seen = new Set<string | Parameter>();
  for (const { name, parameter } of slots) {
    if (seen.has(name) || seen.has(parameter)) {
      throw new InputError(`The parameter ${name} is given to the optimiser twice.`);
    }
    seen.add(name).add(parameter);
  }
  return slots;
}

export interface StepOptions {
  /** Learning rate of this step; default: the optimiser's `lr`, which a captured step follows. */
  readonly lr?: number;
  /** Clips the gradients to this L2 norm, all together. */
  readonly maxNorm?: number;
}

export interface ScaledStepOptions extends StepOptions {
  /**
   * What the loss was multiplied with before backward. The gradients are divided by it, and the step changes nothing when
   * they are not finite: where the norm that it returns is not, call `takeBack`. A function is asked again by each replay
   * of a captured step.
   */
  readonly scale?: number | (() => number);
}

/** Steps of all parameters alike, or by parameter name. */
export type StepCounts = number | ReadonlyMap<string, number>;

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
   * clipping (a scalar tensor the caller owns) when `maxNorm` (or a scale) is given, else null.
   */
  abstract step(options?: StepOptions): Tensor | null;

  /** What besides the weights and `stepCounts()` is needed to go on: tensors by name. They stay the optimiser's own. */
  abstract stateDict(): Map<string, Tensor>;

  /**
   * Takes over a saved state, and how many steps it has seen: one number, or `stepCounts()` of the optimiser that saved
   * it. Parameters without saved state start from zero. Throws an InputError, and changes nothing, where a shape differs.
   */
  abstract loadStateDict(state: ReadonlyMap<string, Tensor>, steps: StepCounts): void;

  /** How often each parameter was changed: it counts only the steps in which it had a gradient. */
  stepCounts(): Map<string, number> {
    return new Map(this.counts);
  }

  protected readonly counts = new Map<string, number>();

  /** Counts a step, in replays too; returns the parameters with gradients. */
  protected beginStep(): readonly Slot[] {
    const active = this.slots.filter((s) => s.parameter.grad !== null);
    const count = (): void => {
      this.#last = active;
      this.steps++;
      for (const { name } of active) this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    };
    count();
    onReplay(count);
    return active;
  }

  /** Parameters of the last step. */
  #last: readonly Slot[] = [];

  /** Forgets that the last step was made: the device has left it out, because the gradients were not finite. */
  takeBack(): void {
    if (this.#last.length === 0) return;
    this.steps--;
    for (const { name } of this.#last) this.counts.set(name, (this.counts.get(name) as number) - 1);
    this.#last = [];
  }

  /** The saved tensors `<parameter>.<suffix>` of each parameter that has all of them, once they are known to fit. */
  protected savedFor(
    state: ReadonlyMap<string, Tensor>,
    suffixes: readonly string[],
  ): { slot: Slot; saved: readonly Tensor[] }[] {
    return this.slots.flatMap((slot) => {
      const saved = suffixes.flatMap((suffix) => {
        const t = state.get(`${slot.name}.${suffix}`);
        if (t && !sameShape(t.shape, slot.parameter.shape)) {
          throw new InputError(
            `The optimiser state ${slot.name}.${suffix} is ${t}; expected the shape of ${slot.parameter}.`,
          );
        }
        return t ? [t] : [];
      });
      return saved.length === suffixes.length ? [{ slot, saved }] : [];
    });
  }

  protected loadCounts(names: readonly string[], steps: StepCounts): void {
    this.steps = typeof steps === 'number' ? steps : Math.max(0, ...steps.values());
    this.counts.clear();
    for (const name of names)
      this.counts.set(name, typeof steps === 'number' ? steps : (steps.get(name) ?? this.steps));
  }

  zeroGrad(): void {
    for (const { parameter } of this.slots) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  }

  /** Frees the state; the parameters are not the optimiser's. */
  dispose(): void {
    for (const t of this.stateDict().values()) t.dispose();
    this.forget();
  }

  protected abstract forget(): void;
}

export interface AdamWOptions {
  readonly lr?: number;
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weightDecay?: number;
  /** Whether matrices get float16 copies that `autocast` uses; for devices that compute in float16, without effect elsewhere. */
  readonly halfCopies?: boolean;
}

/** AdamW (Loshchilov & Hutter 2019) with PyTorch's arithmetic; the whole step is one kernel. */
export class AdamW extends Optimiser {
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #state = new Map<string, { m: Tensor; v: Tensor }>();
  readonly #copies: HalfCopies | null;

  constructor(
    parameters: Optimisable,
    { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, halfCopies = false }: AdamWOptions = {},
  ) {
    super(parameters, lr, weightDecay);
    this.#copies = halfCopies ? new HalfCopies() : null;
    this.#betas = betas;
    this.#eps = eps;
  }

  step({ lr, maxNorm = 0, scale }: ScaledStepOptions = {}): Tensor | null {
    const active = this.beginStep();
    if (active.length === 0) return null;
    // One call for all that are at the same step: nearly always, all.
    const byStep = new Map<number, Slot[]>();
    for (const s of active) {
      const step = this.counts.get(s.name) as number;
      const group = byStep.get(step);
      if (group) group.push(s);
      else byStep.set(step, [s]);
    }
    return noGrad(() =>
      scope(() => {
        const skipNonFinite = scale !== undefined;
        const scaleNow = typeof scale === 'function' ? scale : () => scale;
        const norm = maxNorm > 0 || skipNonFinite ? globalNorm(active.map((s) => s.parameter.grad as Tensor)) : null;
        const constants = { lr: lr ?? null, maxNorm, scale: typeof scale === 'number' ? scale : null };
        for (const slots of byStep.values()) {
          const states = slots.map((s) => this.#stateOf(s));
          const current = (): AdamWStepOptions => ({
            lr: slots.map((s) => (lr ?? this.lr) * s.lrScale),
            weightDecay: slots.map((s) => s.weightDecay),
            beta1: this.#betas[0],
            beta2: this.#betas[1],
            eps: this.#eps,
            step: this.#sharedStep(slots),
            maxNorm,
            scale: scaleNow(),
            skipNonFinite,
          });
          const copies = this.#copiesOf(slots);
          adamwStep(
            slots.map((s) => s.parameter),
            slots.map((s) => s.parameter.grad as Tensor),
            states.map((s) => s.m),
            states.map((s) => s.v),
            norm,
            current(),
            { replayed: { current, constants }, copies },
          );
          if (copies) for (const s of slots) this.#copies?.written(s.parameter);
        }
        if (!norm || !skipNonFinite) return norm;
        const { dtype, backend } = norm;
        return mul(
          norm,
          fresh(() => tensor(1 / (scaleNow() ?? 1), { dtype, backend })),
        );
      }),
    );
  }

  /** Where they are used: a captured step does without. */
  #copiesOf(slots: readonly Slot[]): (Tensor | null)[] | undefined {
    const copies = this.#copies;
    if (!copies || watching() || !computesHalf(slots[0].parameter.backend)) return undefined;
    return slots.map((s) => copies.of(s.parameter));
  }

  /** How many steps these have had; a replay can't tell them apart any more. */
  #sharedStep(slots: readonly Slot[]): number {
    const steps = new Set(slots.map((s) => this.counts.get(s.name)));
    if (steps.size > 1)
      throw new InputError(
        'Parameters of a captured step have had different numbers of steps since; capture the function again.',
      );
    return [...steps][0] as number;
  }

  #stateOf({ name, parameter }: Slot): { m: Tensor; v: Tensor } {
    let s = this.#state.get(name);
    if (!s) {
      const blank = () =>
        resident(() => keep(zeros(parameter.shape, { dtype: parameter.dtype, backend: parameter.backend })), 'state');
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

  loadStateDict(state: ReadonlyMap<string, Tensor>, steps: StepCounts): void {
    const loaded = this.savedFor(state, ['exp_avg', 'exp_avg_sq']);
    const names = new Set(loaded.map(({ slot }) => slot.name));
    for (const [name, { m, v }] of this.#state) {
      if (names.has(name)) continue;
      for (const t of [m, v]) t.dispose();
      this.#state.delete(name);
    }
    // Into what is there: the saved tensors may be these, and two states at a time may be too many.
    for (const { slot, saved } of loaded) {
      const own = this.#stateOf(slot);
      assign(own.m, saved[0]);
      assign(own.v, saved[1]);
    }
    this.loadCounts([...names], steps);
  }

  protected forget(): void {
    this.#state.clear();
    this.#copies?.dispose();
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
    const active = this.beginStep();
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

  loadStateDict(state: ReadonlyMap<string, Tensor>, steps: StepCounts): void {
    const loaded = this.savedFor(state, ['momentum_buffer']);
    const fresh = new Map(loaded.map(({ slot, saved }) => [slot.name, noGrad(() => keep(clone(saved[0])))] as const));
    // Only now: the saved tensors may be the optimiser's own.
    this.dispose();
    for (const [name, t] of fresh) this.#momenta.set(name, t);
    const names = this.#options.momentum === 0 ? this.slots.map((s) => s.name) : loaded.map(({ slot }) => slot.name);
    this.loadCounts(names, steps);
  }

  protected forget(): void {
    this.#momenta.clear();
  }
}

/** min(1, maxNorm / (norm + 1e-6)): what gradients are multiplied with to clip them (torch's clip_grad_norm_). */
function clipFactor(norm: Tensor, maxNorm: number): Tensor {
  return clamp(affine(reciprocal(affine(norm, 1, 1e-6)), maxNorm, 0), { max: 1 });
}

/** Scales the gradients of `parameters` so that their joint L2 norm is at most `maxNorm`; returns the norm. */
export function clipGradNorm(parameters: readonly Parameter[], maxNorm: number): Tensor {
  const owners = parameters.filter((p) => p.grad !== null);
  if (owners.length === 0) throw new InputError('clipGradNorm found no gradients; call backward first.');
  return noGrad(() =>
    scope(() => {
      const norm = globalNorm(owners.map((p) => p.grad as Tensor));
      const factor = clipFactor(norm, maxNorm);
      for (const p of owners) {
        // Not in place: gradients may share memory with each other, or repeat one element.
        const before = p.grad as Tensor;
        p.grad = keep(cast(mul(before, factor), before.dtype));
        before.dispose();
      }
      return norm;
    }),
  );
}

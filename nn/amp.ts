/** Mixed precision: matrices are multiplied in float16, and the loss is scaled so that small gradients do not vanish. */
import type { Backend } from '../core/backend.js';
import { type Call, intercept, type Next, ORDER } from '../core/dispatch.js';
import { InputError } from '../core/errors.js';
import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { affine, cast, globalNorm, mul } from '../core/ops/index.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { fresh } from '../core/watch.js';
import type { Parameter } from './builder.js';
import { useHalfCopies } from './halfCopies.js';

/** Products of matrices: what gains from float16 and does not suffer from it. */
const IN_HALF: ReadonlySet<string> = new Set(['linear', 'matmul', 'multiwayLinear', 'conv2d']);

/** Whether a backend computes in float16, and does not only store it. */
export function computesHalf({ caps }: Backend): boolean {
  return caps.dtypes.has('float16') && !caps.storageOnly.has('float16');
}

function halved(call: Call, next: Next): Tensor[] {
  if (!IN_HALF.has(call.op.name)) return next(call);
  const inputs = call.inputs.map((t) => (t?.dtype === 'float32' ? cast(t, 'float16') : t));
  return next({ ...call, inputs }).map((t) => (t.dtype === 'float16' ? cast(t, 'float32') : t));
}

/**
 * Runs `fn` with products of float32 matrices computed in float16; their results, and all else, stay float32. Throws
 * InputError on a backend that does not compute in float16.
 */
export function autocast<T>(backend: Backend, fn: () => T): T {
  if (!computesHalf(backend))
    throw new InputError(`The device ${backend.name} does not compute in float16; leave mixed precision out.`);
  const removers = [intercept(ORDER.autocast, halved), useHalfCopies()];
  try {
    return fn();
  } finally {
    for (const remove of removers) remove();
  }
}

export interface GradScalerOptions {
  readonly scale?: number;
  /** Factor after `growthInterval` steps in a row without overflow. */
  readonly growthFactor?: number;
  /** Factor after a step with overflow. */
  readonly backoffFactor?: number;
  readonly growthInterval?: number;
}

/** Where a scaler stands; plain JSON. */
export interface GradScalerState {
  readonly scale: number;
  /** Steps in a row without overflow since the scale last changed. */
  readonly growthTracker: number;
}

/** A dynamic loss scale with the rules and defaults of PyTorch's GradScaler. */
export class GradScaler {
  #scale: number;
  #growthTracker = 0;
  readonly #growthFactor: number;
  readonly #backoffFactor: number;
  readonly #growthInterval: number;

  constructor({
    scale = 2 ** 16,
    growthFactor = 2,
    backoffFactor = 0.5,
    growthInterval = 2000,
  }: GradScalerOptions = {}) {
    if (!(scale > 0 && growthFactor > 1 && backoffFactor > 0 && backoffFactor < 1 && growthInterval >= 1)) {
      throw new InputError(
        `A loss scale needs a scale above 0, growth above 1, backoff below 1 and an interval from 1, got ${scale}, ${growthFactor}, ${backoffFactor} and ${growthInterval}.`,
      );
    }
    this.#scale = scale;
    this.#growthFactor = growthFactor;
    this.#backoffFactor = backoffFactor;
    this.#growthInterval = growthInterval;
  }

  /** What the loss is to be multiplied with. */
  get scale(): number {
    return this.#scale;
  }

  /** The loss times the scale, over `count`; differentiate this. Replays of a captured step take the scale of then. */
  scaleLoss(loss: Tensor, count = 1): Tensor {
    const { dtype, backend } = loss;
    return scope(() =>
      mul(
        loss,
        fresh(() => tensor(this.#scale / count, { dtype, backend })),
      ),
    );
  }

  /** Divides the gradients by the scale; resolves to whether all of them are finite: only then may a step be made. */
  async unscale(parameters: readonly Parameter[]): Promise<boolean> {
    const owners = parameters.filter((p) => p.grad !== null);
    if (owners.length === 0) return true;
    const norm = noGrad(() =>
      scope(() => {
        for (const p of owners) {
          // Not in place: gradients may share memory with each other.
          const before = p.grad as Tensor;
          p.grad = keep(affine(before, 1 / this.#scale, 0));
          before.dispose();
        }
        return globalNorm(owners.map((p) => p.grad as Tensor));
      }),
    );
    const value = await norm.item();
    norm.dispose();
    return Number.isFinite(value);
  }

  /** Call after every step, made or skipped; `finite` is what `unscale` said. */
  update(finite: boolean): void {
    if (!finite) {
      this.#scale *= this.#backoffFactor;
      this.#growthTracker = 0;
    } else if (++this.#growthTracker === this.#growthInterval) {
      // A scale that is no number any more would never come back.
      const grown = Math.fround(this.#scale * this.#growthFactor);
      if (Number.isFinite(grown)) this.#scale = grown;
      this.#growthTracker = 0;
    }
  }

  state(): GradScalerState {
    return { scale: this.#scale, growthTracker: this.#growthTracker };
  }

  /** Continues from a saved state; returns itself. */
  restore({ scale, growthTracker }: GradScalerState): this {
    if (!(scale > 0 && Number.isFinite(scale) && Number.isSafeInteger(growthTracker) && growthTracker >= 0))
      throw new InputError(`A loss scale above 0 and a count from 0 were expected, got ${scale} and ${growthTracker}.`);
    this.#scale = scale;
    this.#growthTracker = growthTracker;
    return this;
  }
}

/** Learning-rate schedules: one value per step, as the reference computes them. */
import { InputError } from '../core/errors.js';

export interface ScheduleOptions {
  /** Value after warm-up. */
  readonly base: number;
  /** Value towards which it falls. */
  readonly final: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly warmupEpochs?: number;
  /** Steps of warm-up; above 0 it wins over warmupEpochs. */
  readonly warmupSteps?: number;
  readonly warmupStart?: number;
  readonly shape?: 'cosine' | 'linear';
}

/** `count` values from `from` to `to`, both included (numpy's linspace). */
function linspace(from: number, to: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) =>
    i === count - 1 && count > 1 ? to : from + ((to - from) / Math.max(1, count - 1)) * i,
  );
}

/** Linear warm-up, then a cosine (Loshchilov & Hutter 2017) or linear fall; length epochs * stepsPerEpoch. */
export function schedule(options: ScheduleOptions): number[] {
  const {
    base,
    final,
    epochs,
    stepsPerEpoch,
    warmupEpochs = 0,
    warmupSteps = 0,
    warmupStart = 0,
    shape = 'cosine',
  } = options;
  const total = Math.floor(epochs * stepsPerEpoch);
  const warmup = warmupSteps > 0 ? warmupSteps : Math.floor(warmupEpochs * stepsPerEpoch);
  if (!(total > 0) || warmup > total) {
    throw new InputError(
      `A schedule of ${total} steps cannot hold ${warmup} steps of warm-up; use more epochs or less warm-up.`,
    );
  }
  const rest = total - warmup;
  const fall =
    shape === 'cosine'
      ? Array.from({ length: rest }, (_, i) => final + 0.5 * (base - final) * (1 + Math.cos((Math.PI * i) / rest)))
      : linspace(base, final, rest);
  return [...linspace(warmupStart, base, warmup), ...fall];
}

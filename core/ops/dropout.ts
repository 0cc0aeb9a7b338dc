import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { E } from '../expr.js';
import { scope } from '../memory.js';
import { defineOp, type OpDefinition } from '../op.js';
import { defaultGenerator, type Generator, type Words } from '../random.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { GRADIENT_ONLY } from './elementwise.js';
import { onesLike } from './fill.js';
import { randomBits } from './randomBits.js';
import { floatType, need } from './rules.js';

/** The random bits of one call. */
export interface DropoutState {
  readonly seed: Words;
  readonly counter: Words;
}

interface DropoutAttrs extends DropoutState {
  /** Probability that an element becomes 0. */
  readonly p: number;
}

/** Sets random bits for `count` elements aside. */
export function dropoutState(count: number, generator: Generator = defaultGenerator()): DropoutState {
  const { key, counter } = count > 0 ? generator.reserve(count) : { key: [0, 0] as const, counter: [0, 0] as const };
  return { seed: key, counter };
}

const apply = defineOp<{ readonly threshold: number; readonly scale: number }>({
  name: 'dropoutApply',
  infer: (inputs) => [need('dropoutApply', inputs, 0)],
  expr: E.select(E.less(E.input(1), E.attr('threshold')), 0, E.mul(E.input(0), E.attr('scale'))),
  nonDifferentiable: GRADIENT_ONLY,
  samples: () => [{ inputs: [{ shape: [4, 6] }, { shape: [4, 6] }], attrs: { threshold: 0.5, scale: 1.25 } }],
});

function thinned(x: Tensor, p: number, { seed, counter }: DropoutState): Tensor {
  // Bits and threshold meet as float32, where every backend compares alike.
  const level = cast(randomBits(x.shape, seed, counter, { backend: x.backend }), 'float32');
  const threshold = Math.fround(p === 1 ? Number.POSITIVE_INFINITY : (p - 0.5) * 2 ** 32);
  return call1(apply, [x, level], { threshold, scale: p === 1 ? 0 : 1 / (1 - p) });
}

/** What dropout multiplies with: 0 or 1 / (1 - p), in the shape and dtype of `like`; for rules that contain a dropout. */
export const dropoutFactors = (like: Tensor, p: number, state: DropoutState): Tensor =>
  scope(() => thinned(onesLike(like), p, state));

const op: OpDefinition<DropoutAttrs> = defineOp<DropoutAttrs>({
  name: 'dropout',
  infer: (inputs) => floatType('dropout')([need('dropout', inputs, 0)]),
  decompose: ([x], { p, ...state }) => [thinned(x as Tensor, p, state)],
  // The same call again: bits are cheaper to draw twice than to keep.
  vjp: { back: ([g], _, attrs) => [() => call1(op, [g], attrs)] },
  samples: () => [{ inputs: [{ shape: [6, 7] }], attrs: { p: 0.3, seed: [5, 0], counter: [9, 0] } }],
});

export interface DropoutOptions {
  /** Where the random bits come from; default: the default generator. */
  readonly generator?: Generator;
}

/** x with each element 0 with probability `p`, else divided by 1 - p. Srivastava et al. 2014. */
export function dropout(x: Tensor, p: number, { generator }: DropoutOptions = {}): Tensor {
  if (!(p >= 0 && p <= 1)) throw new OpError('dropout', `expected a probability from 0 to 1, got ${p}`);
  return p === 0 ? x : call1(op, [x], { p, ...dropoutState(x.size, generator) });
}

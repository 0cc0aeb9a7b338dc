/** What the files of elementwise ops share: the definition of a function of one number together with its gradient. */
import { call1 } from '../dispatch.js';
import { E, type Expr } from '../expr.js';
import { defineOp, type SampleInput } from '../op.js';
import type { Tensor } from '../tensor.js';
import { floatType, sameType } from './rules.js';

/** Why the rules of gradients have none themselves. */
export const GRADIENT_ONLY = 'it is part of a gradient, and only first derivatives are taken';

/** The argument of a unary function. */
export const x = E.input(0);
/** In a gradient: what came from above, and what was saved. */
export const g = E.input(0);
export const saved = E.input(1);

export interface Unary {
  readonly name: string;
  /** The function of `x`. */
  readonly expr: Expr;
  /** The gradient from `g` and `saved`. */
  readonly gradient: Expr;
  /** What `saved` is. */
  readonly saves: 'input' | 'output';
  /** Integers stay integers; otherwise they become float32. */
  readonly integers?: boolean;
  /** Range of the tested values. */
  readonly range?: Pick<SampleInput, 'low' | 'high'>;
}

/** Defines op `name` and its gradient `nameBackward`; returns the functions that call them. */
export function defineUnary({ name, expr, gradient, saves, integers, range }: Unary) {
  const sample = { shape: [5, 7], ...range };
  const backward = defineOp({
    name: `${name}Backward`,
    infer: floatType(`${name}Backward`),
    expr: gradient,
    nonDifferentiable: GRADIENT_ONLY,
    samples: () => [{ inputs: [{ shape: [5, 7] }, sample], attrs: {} }],
  });
  const op = defineOp({
    name,
    infer: integers ? sameType(name) : floatType(name),
    expr,
    vjp: {
      saves: saves === 'input' ? ([a]) => [a] : (_, [y]) => [y],
      back: ([dy], [s]) => [() => call1(backward, [dy, s], {})],
    },
    samples: () => [
      { inputs: [sample], attrs: {} },
      { inputs: [{ ...sample, shape: [3, 1, 2] }], attrs: {} },
    ],
  });
  return {
    forward: (a: Tensor): Tensor => call1(op, [a], {}),
    backward: (dy: Tensor, s: Tensor): Tensor => call1(backward, [dy, s], {}),
  };
}

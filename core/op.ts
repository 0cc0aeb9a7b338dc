/** How an op is defined: one rule for shapes, one meaning, one gradient. */
import type { Attrs, Spec } from './backend.js';
import type { DType } from './dtype.js';
import type { Expr } from './expr.js';
import type { Layout } from './layout.js';
import type { Tensor } from './tensor.js';

export type Operand = Tensor | null;
export type SpecOrNull = Spec | null;

/** Row-major float64 values of an operand, for the plain loops of a `reference`. */
export interface Flat {
  readonly values: Float64Array;
  readonly shape: readonly number[];
}

/** The gradient rule of an op. */
export interface Vjp<A extends Attrs> {
  /** What backward needs, as inputs and outputs of the call; kept until backward consumes it. */
  saves?(inputs: readonly Operand[], outputs: readonly Tensor[], attrs: A): readonly Operand[];
  /** Outputs from this index on are by-products without gradient (a saved mean, a log-sum-exp). */
  readonly auxiliary?: number;
  /**
   * One thunk per input (null where an input has no gradient), called only for inputs that need theirs. A gradient may
   * have the broadcast shape and any float dtype: autograd sums and casts. `grads[i]` is null where output i is unused.
   */
  back(
    grads: readonly Operand[],
    saved: readonly Operand[],
    attrs: A,
    inputs: readonly SpecOrNull[],
  ): readonly ((() => Tensor) | null)[];
}

/** One example call, for the tests that every op gets. */
export interface Sample<A extends Attrs> {
  readonly inputs: readonly (SampleInput | null)[];
  readonly attrs: A;
}

export interface SampleInput {
  readonly shape: readonly number[];
  readonly dtype?: DType;
  /** Range of the random values (default -2 to 2; integers for integer dtypes, below `high`). */
  readonly low?: number;
  readonly high?: number;
}

interface Common<A extends Attrs> {
  readonly name: string;
  /** The only rule for result shapes and dtypes; throws OpError for operands that do not fit. */
  infer(inputs: readonly SpecOrNull[], attrs: A): readonly Spec[];
  /** Moves elements without computing: takes any dtype as it is. */
  readonly moves?: boolean;
  /** Indices of inputs that are written in place (parameters and optimiser state only). */
  mutates?(attrs: A): readonly number[];
  /** Floating-point operations, for profiles. */
  cost?(inputs: readonly SpecOrNull[], attrs: A): number;
  samples?(): readonly Sample<A>[];
}

/** Exactly one meaning. */
type Meaning<A extends Attrs> =
  | { readonly expr: Expr; readonly reference?: never; readonly decompose?: never; readonly view?: never }
  | {
      reference(inputs: readonly (Flat | null)[], outputs: readonly Flat[], attrs: A): void;
      readonly expr?: never;
      readonly decompose?: never;
      readonly view?: never;
    }
  | {
      decompose(inputs: readonly Operand[], attrs: A): readonly Tensor[];
      readonly expr?: never;
      readonly reference?: never;
      readonly view?: never;
    }
  | {
      view(input: Layout, attrs: A): Layout;
      readonly expr?: never;
      readonly reference?: never;
      readonly decompose?: never;
    };

/** A gradient rule, the reason why there is none, or `through`: the gradient of the decomposition. */
type Gradient<A extends Attrs> =
  | { readonly vjp: Vjp<A>; readonly nonDifferentiable?: never; readonly through?: never }
  | { readonly nonDifferentiable: string; readonly vjp?: never; readonly through?: never }
  | { readonly through: true; readonly vjp?: never; readonly nonDifferentiable?: never };

export type OpDefinition<A extends Attrs = Attrs> = Common<A> & Meaning<A> & Gradient<A>;

const registry = new Map<string, OpDefinition>();

/** Registers an op; the result is what `call` takes. */
export function defineOp<A extends Attrs>(definition: OpDefinition<A>): OpDefinition<A> {
  if (registry.has(definition.name)) throw new Error(`op ${definition.name} is defined twice`);
  registry.set(definition.name, definition as unknown as OpDefinition);
  return definition;
}

/** Every op that was defined, by name. */
export function definedOps(): ReadonlyMap<string, OpDefinition> {
  return registry;
}

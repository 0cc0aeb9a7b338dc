/** How far results may be from the oracle: the only table of it. */
import type { Attrs } from '../../core/backend.js';
import { type DType, isFloat } from '../../core/dtype.js';
import type { Expr } from '../../core/expr.js';
import type { OpDefinition } from '../../core/op.js';

/** |got - wanted| <= absolute + relative |wanted|. */
export interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
}

/** What an op does to numbers. */
export type Kind =
  /** Moves, compares, counts. */
  | 'exact'
  /** A few correctly rounded operations. */
  | 'rounded'
  /** Functions that are approximated. */
  | 'approximated'
  /** Sums of many terms, or several steps. */
  | 'accumulated'
  /** Gradients: sums over whole batches that may cancel. */
  | 'gradient'
  /** Divisions by a deviation that may be small, or exponentials that may be large: the last bit of a step grows. */
  | 'amplified';

const both = (t: number): Tolerance => ({ relative: t, absolute: t });

const TABLE: Record<'float64' | 'float32' | 'float16' | 'bfloat16', Record<Kind, Tolerance>> = {
  float64: {
    exact: both(0),
    rounded: both(1e-15),
    approximated: both(1e-14),
    accumulated: both(1e-12),
    gradient: both(1e-11),
    amplified: both(1e-10),
  },
  float32: {
    exact: both(0),
    rounded: both(5e-7),
    approximated: both(2e-6),
    accumulated: both(1e-5),
    gradient: both(5e-5),
    amplified: both(2e-4),
  },
  // Half floats are compared after a last rounding that may fall to the other side; the oracle rounds each step.
  float16: {
    exact: both(0),
    rounded: both(2e-3),
    approximated: both(2e-3),
    accumulated: both(2e-2),
    gradient: both(2e-2),
    amplified: both(5e-2),
  },
  bfloat16: {
    exact: both(0),
    rounded: both(1.6e-2),
    approximated: both(1.6e-2),
    accumulated: both(1.2e-1),
    gradient: both(1.2e-1),
    amplified: both(2e-1),
  },
};

export function toleranceOf(dtype: DType, kind: Kind): Tolerance {
  return isFloat(dtype) ? TABLE[dtype as keyof typeof TABLE][kind] : both(0);
}

/** PyTorch's numbers come from float32 with sums in another order. */
export const PYTORCH: Tolerance = { relative: 1e-5, absolute: 5e-6 };

function approximates(expr: Expr): boolean {
  switch (expr.kind) {
    case 'unary':
      return !['neg', 'abs', 'floor', 'sqrt'].includes(expr.name) || approximates(expr.x);
    case 'binary':
      return expr.name === 'pow' || approximates(expr.x) || approximates(expr.y);
    case 'select':
      return [expr.test, expr.yes, expr.no].some(approximates);
    default:
      return false;
  }
}

export function kindOf(op: OpDefinition<Attrs>): Kind {
  if (op.view || op.moves || op.name === 'fill') return 'exact';
  if (op.expr) return approximates(op.expr) ? 'approximated' : 'rounded';
  if (/layerNorm|^std|^attention/i.test(op.name)) return 'amplified';
  return op.name.includes('Backward') ? 'gradient' : 'accumulated';
}

/** What the definitions of fused ops share. */
import type { Spec } from '../backend.js';
import { type DType, isFloat, promote } from '../dtype.js';
import { OpError } from '../errors.js';
import { formatShape, sameShape, sizeOf } from '../layout.js';
import type { Operand, SpecOrNull } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { cat } from './cat.js';
import { permute } from './permute.js';
import { reshape } from './reshape.js';
import { formatSpec } from './rules.js';
import { slice } from './slice.js';

/** Why the backward ops are where differentiation ends. */
export const NO_SECOND =
  'second derivatives of fused ops are not supported; write the function with primitive ops to differentiate it twice';

/** float16 and bfloat16 operands in float32: a fused op rounds its results only. */
export function widen<T extends Operand>(x: T): T {
  return (x !== null && (x.dtype === 'float16' || x.dtype === 'bfloat16') ? cast(x, 'float32') : x) as T;
}

/** The dtype of by-products (means, log-sum-exps) of a computation in `dtype`. */
export function wideType(dtype: DType): DType {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/** The dtype in which float operands meet. */
export function floatOf(op: string, operands: readonly SpecOrNull[]): DType {
  const given = operands.filter((s) => s !== null);
  for (const s of given) if (!isFloat(s.dtype)) throw new OpError(op, `expected float operands, got ${formatSpec(s)}`);
  return given.map((s) => s.dtype).reduce(promote);
}

/** Checks an operand's exact shape; `shape` describes it in the message. */
export function expectShape(op: string, what: string, s: SpecOrNull, shape: readonly number[]): void {
  if (s && !sameShape(s.shape, shape)) {
    throw new OpError(op, `expected ${what} of shape ${formatShape(shape)}, got ${formatSpec(s)}`);
  }
}

/** Checks that x is [B, L, width] and that `split` lies within its rows. */
export function expectSplit(op: string, x: Spec, split: number): void {
  if (x.shape.length !== 3) throw new OpError(op, `expected x of shape [B, L, D], got ${formatSpec(x)}`);
  if (!Number.isInteger(split) || split <= 0 || split >= x.shape[1]) {
    throw new OpError(op, `expected a split from 1 to ${x.shape[1] - 1} for ${formatSpec(x)}, got ${split}`);
  }
}

/** Runs `make` at the first call only. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** All axes but the last as one: [..., D] as [rows, D]. */
export function rows(x: Tensor): Tensor {
  const width = x.shape[x.rank - 1];
  return reshape(x, [sizeOf(x.shape.slice(0, -1)), width]);
}

/** The matrix with its axes swapped. */
export const transposed = (x: Tensor): Tensor => permute(x, [1, 0]);

/** The parts of x [B, L, ...] before and from row `split`. */
export function splitRows(x: Tensor, split: number): [Tensor, Tensor] {
  return [slice(x, 1, 0, split), slice(x, 1, split, x.shape[1])];
}

/** The inverse of splitRows. */
export const joinRows = (before: Tensor, after: Tensor): Tensor => cat([before, after], 1);

/** Axes 0 to n - 1. */
export const leading = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

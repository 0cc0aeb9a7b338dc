/** Shape and dtype rules that many ops share. */
import type { Spec } from '../backend.js';
import { type DType, isFloat, promote } from '../dtype.js';
import { OpError } from '../errors.js';
import { broadcastShapes, formatShape } from '../layout.js';
import type { SpecOrNull } from '../op.js';

export function formatSpec(s: SpecOrNull): string {
  return s === null ? 'nothing' : `${s.dtype}${formatShape(s.shape)}`;
}

/** Operand `i`, which must be there. */
export function need(op: string, inputs: readonly SpecOrNull[], i: number): Spec {
  const s = inputs[i];
  if (!s) throw new OpError(op, `expected an operand ${i + 1}, got nothing`);
  return s;
}

function joint(inputs: readonly SpecOrNull[]): DType {
  return (inputs as readonly Spec[]).map((s) => s.dtype).reduce(promote);
}

/** Elementwise: broadcast shape, promoted dtype. */
export const sameType =
  (op: string) =>
  (inputs: readonly SpecOrNull[]): readonly Spec[] => [
    { shape: broadcastShapes(op, ...inputs.map((_, i) => need(op, inputs, i).shape)), dtype: joint(inputs) },
  ];

/** Elementwise with a fractional result: integers become float32. */
export const floatType =
  (op: string) =>
  (inputs: readonly SpecOrNull[]): readonly Spec[] => {
    const [{ shape, dtype }] = sameType(op)(inputs);
    return [{ shape, dtype: isFloat(dtype) ? dtype : 'float32' }];
  };

/** Elementwise with a truth value as result. */
export const boolType =
  (op: string) =>
  (inputs: readonly SpecOrNull[]): readonly Spec[] => [{ shape: sameType(op)(inputs)[0].shape, dtype: 'bool' }];

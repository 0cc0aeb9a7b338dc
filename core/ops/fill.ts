import type { Backend } from '../backend.js';
import { defaultBackend, setDefaultBackend } from '../device.js';
import { call1 } from '../dispatch.js';
import { type DType, isFloat } from '../dtype.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';

export interface CreateOptions {
  readonly dtype?: DType;
  readonly backend?: Backend;
}

/** Runs `fn` with another default backend, for ops without operands. */
export function on<T>(backend: Backend | undefined, fn: () => T): T {
  if (!backend) return fn();
  const before = setDefaultBackend(backend);
  try {
    return fn();
  } finally {
    setDefaultBackend(before);
  }
}

const op = defineOp<{ readonly shape: readonly number[]; readonly dtype: DType; readonly value: number }>({
  name: 'fill',
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  reference(_, [y], { value }) {
    y.values.fill(value);
  },
  nonDifferentiable: 'it has no tensor operand',
  samples: () => [
    { inputs: [], attrs: { shape: [3, 2], dtype: 'float32', value: 1.5 } },
    { inputs: [], attrs: { shape: [], dtype: 'int32', value: -7 } },
    { inputs: [], attrs: { shape: [5], dtype: 'bool', value: 1 } },
  ],
});

/** A tensor of one value everywhere. */
export function full(
  shape: readonly number[],
  value: number,
  { dtype = 'float32', backend = defaultBackend() }: CreateOptions = {},
): Tensor {
  return on(backend, () => call1(op, [], { shape, dtype, value }));
}

export const zeros = (shape: readonly number[], options?: CreateOptions): Tensor => full(shape, 0, options);
export const ones = (shape: readonly number[], options?: CreateOptions): Tensor => full(shape, 1, options);

/** Zeros with the shape, dtype and backend of `x`. */
export const zerosLike = (x: Tensor): Tensor => full(x.shape, 0, x);
/** Ones with the shape, dtype and backend of `x`. */
export const onesLike = (x: Tensor): Tensor => full(x.shape, 1, x);

/** Calls `fn` with a number as the operand that meets `x`: of its dtype, unless it is a fraction beside integers. */
export function scalarLike(x: Tensor, value: number, fn: (scalar: Tensor) => Tensor): Tensor {
  const dtype = isFloat(x.dtype) ? x.dtype : Number.isInteger(value) ? 'int32' : 'float32';
  return scope(() => fn(full([], value, { dtype, backend: x.backend })));
}

import type { Backend } from '../backend.js';
import { call1 } from '../dispatch.js';
import { defaultBackend, setDefaultBackend } from '../device.js';
import type { DType } from '../dtype.js';
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
  samples: () => [{ inputs: [], attrs: { shape: [3, 2], dtype: 'float32', value: 1.5 } }],
});

/** A tensor of one value everywhere. */
export function full(shape: readonly number[], value: number, { dtype = 'float32', backend = defaultBackend() }: CreateOptions = {}): Tensor {
  return on(backend, () => call1(op, [], { shape, dtype, value }));
}

export const zeros = (shape: readonly number[], options?: CreateOptions): Tensor => full(shape, 0, options);
export const ones = (shape: readonly number[], options?: CreateOptions): Tensor => full(shape, 1, options);

import { call1 } from '../dispatch.js';
import type { DType } from '../dtype.js';
import { OpError } from '../errors.js';
import { scope } from '../memory.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { cast } from './cast.js';
import { equal } from './equal.js';
import { type CreateOptions, on } from './fill.js';
import { unsqueeze } from './reshape.js';

interface IotaAttrs {
  readonly size: number;
  readonly start: number;
  readonly step: number;
  readonly dtype: DType;
}

const op = defineOp<IotaAttrs>({
  name: 'iota',
  infer: (_, { size, dtype }) => [{ shape: [size], dtype }],
  reference(_, [y], { start, step }) {
    for (let i = 0; i < y.values.length; i++) y.values[i] = start + i * step;
  },
  nonDifferentiable: 'it has no tensor operand',
  samples: () => [
    { inputs: [], attrs: { size: 7, start: -2, step: 3, dtype: 'int32' } },
    { inputs: [], attrs: { size: 5, start: 0.5, step: -0.25, dtype: 'float32' } },
  ],
});

/** 0 to before `end`, or `start`, `start + step`, ... to before `end`. int32 when all are whole, else float32. */
export function arange(end: number, options?: CreateOptions): Tensor;
export function arange(start: number, end: number, step?: number, options?: CreateOptions): Tensor;
export function arange(first: number, second?: number | CreateOptions, step = 1, last: CreateOptions = {}): Tensor {
  const [start, end] = typeof second === 'number' ? [first, second] : [0, first];
  const options = typeof second === 'object' ? second : last;
  const size = Math.max(0, Math.ceil((end - start) / step));
  if (!Number.isFinite(size)) throw new OpError('arange', `expected a finite range, got ${start} to ${end} by ${step}`);
  const dtype = options.dtype ?? ([start, end, step].every(Number.isInteger) ? 'int32' : 'float32');
  return on(options.backend, () => call1(op, [], { size, start, step, dtype }));
}

/** `size` evenly spaced numbers from `start` to `end`, both included. */
export const linspace = (
  start: number,
  end: number,
  size: number,
  { dtype = 'float32', backend }: CreateOptions = {},
): Tensor => on(backend, () => call1(op, [], { size, start, step: size > 1 ? (end - start) / (size - 1) : 0, dtype }));

/** Identity matrix [n, m] (default: [n, n]). */
export const eye = (n: number, m = n, { dtype = 'float32', backend }: CreateOptions = {}): Tensor =>
  scope(() => cast(equal(unsqueeze(arange(n, { backend }), 1), arange(m, { backend })), dtype));

/** 1 at the place that each id names and 0 elsewhere: [..., classes]. */
export const oneHot = (ids: Tensor, classes: number, { dtype = 'float32' }: { readonly dtype?: DType } = {}): Tensor =>
  scope(() => cast(equal(unsqueeze(ids, -1), arange(classes, { backend: ids.backend })), dtype));

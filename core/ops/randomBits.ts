import { call1 } from '../dispatch.js';
import { sizeOf } from '../layout.js';
import { defineOp } from '../op.js';
import { defaultGenerator, type Generator, philox, type Words } from '../random.js';
import { type Tensor, tensor } from '../tensor.js';

import { type CreateOptions, on } from './fill.js';

interface BitsAttrs {
  readonly shape: readonly number[];
  readonly key: Words;
  readonly counter: Words;
}

const op = defineOp<BitsAttrs>({
  name: 'randomBits',
  infer: (_, { shape }) => [{ shape, dtype: 'int32' }],
  reference(_, [y], { key, counter }) {
    const words = new Uint32Array(y.values.length);
    philox(key, counter, words);
    y.values.set(new Int32Array(words.buffer));
  },
  nonDifferentiable: 'it has no tensor operand',
  samples: () => [
    { inputs: [], attrs: { shape: [3, 5], key: [1, 2], counter: [3, 0] } },
    { inputs: [], attrs: { shape: [17], key: [0xffffffff, 0x80000001], counter: [0xfffffffe, 7] } },
  ],
});

export interface RandomOptions extends CreateOptions {
  readonly generator?: Generator;
}

/** Random int32 bits: element i is word i % 4 of the Philox4x32-10 block at `counter` + floor(i / 4). */
export const randomBits = (shape: readonly number[], key: Words, counter: Words, options: CreateOptions = {}): Tensor =>
  on(options.backend, () => call1(op, [], { shape, key, counter }));

/** Uniform random numbers from 0 to below 1. */
export const rand = (
  shape: readonly number[],
  { generator = defaultGenerator(), dtype = 'float32', backend }: RandomOptions = {},
): Tensor => tensor(generator.uniform(sizeOf(shape)), { shape, dtype, backend });

/** Standard normal random numbers. */
export const randn = (
  shape: readonly number[],
  { generator = defaultGenerator(), dtype = 'float32', backend }: RandomOptions = {},
): Tensor => tensor(generator.normal(sizeOf(shape)), { shape, dtype, backend });

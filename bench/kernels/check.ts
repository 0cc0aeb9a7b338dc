/** Whether a result is right, against the oracle's result for some of its entries. */
import type { Backend } from '../../core/backend.js';
import type { DType } from '../../core/dtype.js';
import type { Case, Sizes } from './cases.js';
import { pickedSizes } from './cases.js';
import { Problem, picks } from './problem.js';

export interface Check {
  /** The largest norm of a difference over the norm of what is right. */
  readonly error: number;
  readonly holds: boolean;
  /** Operations a second of the reference backend on these entries. */
  readonly referenceRate: number;
  readonly referenceSizes: Sizes;
}

/** As the parity of models asks for; half floats keep 11 bits. */
const LARGEST = { float32: 1e-4, float16: 1e-2 };

/** Compares one call of `problem` with the reference backend. */
export async function check(of: Case, sizes: Sizes, dtype: DType, problem: Problem, oracle: Backend): Promise<Check> {
  const picked = picks(of, sizes);
  const got = await problem.outputs(picked);
  const part = Problem.part(of, sizes, dtype, picked, oracle);
  try {
    const wanted = await part.outputs(null);
    const error = Math.max(...got.map((values, i) => relativeNorm(values, wanted[i])));
    const small = pickedSizes(of, sizes);
    let seconds = Number.POSITIVE_INFINITY;
    const end = performance.now() + 100;
    do {
      const start = performance.now();
      part.call();
      seconds = Math.min(seconds, (performance.now() - start) / 1000);
    } while (performance.now() < end);
    const holds = error <= (dtype === 'float16' ? LARGEST.float16 : LARGEST.float32);
    return { error, holds, referenceRate: of.flops(small) / seconds, referenceSizes: small };
  } finally {
    part.dispose();
  }
}

/** |got - wanted| / |wanted|; NaN where either is not finite. */
export function relativeNorm(got: Float64Array, wanted: Float64Array): number {
  if (got.length !== wanted.length) return Number.NaN;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < wanted.length; i++) {
    difference += (got[i] - wanted[i]) ** 2;
    norm += wanted[i] ** 2;
  }
  return Math.sqrt(difference / (norm || Number.MIN_VALUE));
}

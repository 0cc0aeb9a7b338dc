/** Each op on random shapes (0, 1, primes, beyond a tile), dtypes and layouts: every backend against the oracle. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import '../../index.js';
import { loadBackend } from '../../backends/index.js';
import type { DType } from '../../core/dtype.js';
import { sizeOf } from '../../core/layout.js';
import { BACKENDS } from '../support/backends.js';
import { compareOn } from '../support/run.js';
import { DEPENDENT, layoutsOf, resized, sampledOps } from '../support/samples.js';

const [oracleName, ...others] = BACKENDS;
const oracle = await loadBackend(oracleName);
const SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 13, 17, 31, 33, 65];
const RUNS = 40;
/** Ops whose options hold the sizes of their operands: other sizes are refused. */
const FIXED = ['fold', 'reshape', ...DEPENDENT];

/** What one random case consists of. */
const cases = fc.record({
  which: fc.nat(),
  sizes: fc.array(fc.constantFrom(...SIZES), { minLength: 8, maxLength: 8 }),
  dtype: fc.constantFrom<DType>('float32', 'float32', 'float32', 'float16', 'bfloat16'),
  layout: fc.nat({ max: 99 }),
  seed: fc.integer({ min: 1, max: 1_000_000 }),
});

for (const name of others) {
  const backend = await loadBackend(name, { threads: 2 });
  for (const { op, samples } of sampledOps()) {
    if (samples.every((s) => s.inputs.length === 0) || FIXED.includes(op.name)) continue;
    test(`${op.name} on random shapes (${name})`, async () => {
      let compared = 0;
      const property = fc.asyncProperty(cases, async ({ which, sizes, dtype, layout, seed }) => {
        const next = sizes.values();
        const sample = resized(samples[which % samples.length], () => next.next().value ?? 2);
        // The oracle is slow, and an index into nothing is no case.
        fc.pre(sample.inputs.every((x) => !x || sizeOf(x.shape) <= 6000));
        fc.pre(sample.inputs.every((x) => x?.dtype !== 'int32' || x.high !== 0));
        const layouts = layoutsOf(op);
        const trial = { op, sample, dtype, layout: layouts[layout % layouts.length], seed };
        compared += await compareOn(oracle, backend, trial, false);
        if (dtype === 'float32' && !op.nonDifferentiable) compared += await compareOn(oracle, backend, trial, true);
      });
      await fc.assert(property, { numRuns: RUNS, seed: 2023 });
      assert.ok(compared > 0, `${op.name}: every case was refused`);
    });
  }
}

/** Each op's samples, by dtype and layout, on every backend against the oracle: values, and gradients through autograd. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../../index.js';
import { loadBackend } from '../../backends/index.js';
import type { DType } from '../../core/dtype.js';
import { BACKENDS } from '../support/backends.js';
import { compareOn } from '../support/run.js';
import { DEPENDENT, layoutsOf, sampledOps } from '../support/samples.js';

const [oracleName, ...others] = BACKENDS;
const oracle = await loadBackend(oracleName);
const DTYPES: readonly DType[] = ['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'];

test('every op has samples', () => {
  assert.deepEqual(
    sampledOps().flatMap(({ op, samples }) => (samples.length === 0 ? [op.name] : [])),
    [],
  );
});

for (const name of others) {
  const backend = await loadBackend(name, { threads: 2 });
  for (const { op, samples } of sampledOps()) {
    if (DEPENDENT.includes(op.name)) continue;
    test(`${op.name} (${name})`, async () => {
      let compared = 0;
      for (const [i, sample] of samples.entries()) {
        for (const dtype of DTYPES) {
          for (const layout of layoutsOf(op)) {
            const trial = { op, sample, dtype, layout, seed: 31 * i + 1 };
            compared += await compareOn(oracle, backend, trial, false);
            if (dtype === 'float32' && !op.nonDifferentiable) compared += await compareOn(oracle, backend, trial, true);
          }
        }
      }
      assert.ok(compared > 0, `${op.name}: nothing was compared`);
    });
  }
}

/** NaN, infinities and zeros through every elementwise op: every backend against the oracle. */
import { test } from 'node:test';
import '../../index.js';
import { loadBackend } from '../../backends/index.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { definedOps } from '../../core/op.js';
import { expand, reshape } from '../../core/ops/index.js';
import { tensor } from '../../core/tensor.js';
import { BACKENDS, readAll } from '../support/backends.js';
import { assertSame } from '../support/compare.js';
import { kindOf, toleranceOf } from '../support/tolerance.js';

// Nothing so small or large that float32 rounds it to 0 or Infinity where float64 does not.
const VALUES = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1, -1, 0.5, 3, -5];
const [oracleName, ...others] = BACKENDS;
const oracle = await loadBackend(oracleName);

for (const name of others) {
  const backend = await loadBackend(name, { threads: 2 });
  for (const op of definedOps().values()) {
    if (!op.expr) continue;
    test(`${op.name} of special values (${name})`, async () => {
      const { attrs, inputs } = op.samples?.()[0] ?? { attrs: {}, inputs: [] };
      const n = VALUES.length;
      const shape = inputs.map(() => n);
      const run = () =>
        readAll(() => {
          // Operand i varies along axis i: every combination occurs.
          const operands = inputs.map((_, i) =>
            expand(
              reshape(
                tensor(VALUES),
                shape.map((_, axis) => (axis === i ? n : 1)),
              ),
              shape,
            ),
          );
          return { result: call(op, operands, attrs)[0] };
        });
      setDefaultBackend(oracle);
      const { result: wanted } = await run();
      setDefaultBackend(backend);
      const { result: got } = await run();
      assertSame(got, wanted, toleranceOf('float32', kindOf(op)), op.name);
    });
  }
}

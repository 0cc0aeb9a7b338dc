/** Every op on every backend of Node against the oracle. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../../index.js';
import { loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { TESTED, tested } from '../support/backends.js';
import { Oracle } from '../support/run.js';
import { sampledOps } from '../support/samples.js';
import type { Effort } from './cases.js';
import { testedOps, testOp } from './report.js';

/** A GPU in software, and gpu.js without one, take long over each new kernel. */
const EFFORT: Readonly<Record<string, Effort>> = {
  wasm: { runs: 40, layouts: 'every', grids: 'huge' },
  webgpu: { runs: 6, layouts: 'some', grids: 'huge' },
  gpujs: { runs: 8, layouts: 'some', grids: 'rows' },
};

const oracle = new Oracle(await loadBackend('reference'));
// All before the first test: what is registered after a pause may come when the hooks at the end have run.
const backends = new Map<string, Backend | string>();
for (const name of Object.keys(TESTED)) backends.set(name, await tested(name));

test('every op has samples', () => {
  assert.deepEqual(
    sampledOps().flatMap(({ op, samples }) => (samples.length === 0 ? [op.name] : [])),
    [],
  );
});

for (const [name, backend] of backends) {
  if (typeof backend === 'string') {
    test(`conformance of ${name}`, { skip: backend }, () => {});
    continue;
  }
  for (const op of testedOps()) {
    test(`${op} (${name})`, async () => {
      const { failures } = await testOp(op, backend, oracle, EFFORT[name]);
      assert.equal(failures.join('\n'), '');
    });
  }
}

/** Every op on every backend of Node against the oracle. */
import assert from 'node:assert/strict';
import { it, test } from 'node:test';
import '../../index.js';
import { loadBackend } from '../../backends/index.js';
import { TESTED, tested } from '../support/backends.js';
import { Oracle } from '../support/run.js';
import { sampledOps } from '../support/samples.js';
import { testedOps, testOp } from './report.js';

const RUNS = 40;

test('every op has samples', () => {
  assert.deepEqual(
    sampledOps().flatMap(({ op, samples }) => (samples.length === 0 ? [op.name] : [])),
    [],
  );
});

const oracle = new Oracle(await loadBackend('reference'));

for (const name of Object.keys(TESTED)) {
  const backend = await tested(name);
  if (typeof backend === 'string') {
    it(`conformance of ${name}`, { skip: backend }, () => {});
    continue;
  }
  for (const op of testedOps()) {
    test(`${op} (${name})`, async () => {
      const { failures } = await testOp(op, backend, oracle, { runs: RUNS, grids: 'huge' });
      assert.equal(failures.join('\n'), '');
    });
  }
}

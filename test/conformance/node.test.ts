/** Every op on every backend of Node against the oracle. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import '../../index.js';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import { BACKENDS } from '../support/backends.js';
import { Oracle } from '../support/run.js';
import { sampledOps } from '../support/samples.js';
import { testedOps, testOp } from './report.js';

it('every op has samples', () => {
  const without = sampledOps().filter(({ samples }) => samples.length === 0);
  assert.deepEqual(
    without.map(({ op }) => op.name),
    [],
  );
});
const [oracleName, ...others] = BACKENDS;
const oracle = new Oracle(await loadBackend(oracleName));
for (const name of others) {
  describe(`conformance of ${name}`, async () => {
    const backend = await loadBackend(name, { threads: 2 });
    for (const op of testedOps()) {
      it(`${op} (${name})`, async () => {
        const { failures } = await testOp(op, backend, oracle, { runs: 40, huge: true });
        assert.equal(failures.join('\n'), '');
      });
    }
  });
}
after(async () => {
  for (const name of BACKENDS) await disposeBackend(name);
});

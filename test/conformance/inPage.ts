/** What a page runs of the conformance suite: the backend under test and the oracle beside it. */
import '../../index.js';
import { type BackendOptions, disposeBackend, loadBackend } from '../../backends/index.js';
import { Oracle } from '../support/run.js';
import type { Effort } from './cases.js';
import { type OpReport, testOp } from './report.js';

let oracle: Oracle | null = null;

/** All parts of an op on a backend. */
export async function conformance(
  op: string,
  name: string,
  options: BackendOptions,
  effort: Effort,
): Promise<OpReport> {
  oracle ??= new Oracle(await loadBackend('reference'));
  return testOp(op, await loadBackend(name, options), oracle, effort);
}

export const end = (name: string): Promise<void> => disposeBackend(name);

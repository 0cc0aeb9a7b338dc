/** What a page runs of the conformance suite: the backend under test, and the oracle beside it. */
import '../../index.js';
import { type BackendOptions, disposeBackend, loadBackend } from '../../backends/index.js';
import { InputError } from '../../core/errors.js';
import { Oracle } from '../support/run.js';
import type { Effort } from './cases.js';
import { type OpReport, testOp } from './report.js';

let oracle: Oracle | null = null;

/** Loads a backend; why the page has none, else null. */
export async function load(name: string, options: BackendOptions): Promise<string | null> {
  try {
    await loadBackend(name, options);
    return null;
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

/** All parts of an op on a backend that was loaded. */
export async function conformance(op: string, name: string, effort: Effort): Promise<OpReport> {
  oracle ??= new Oracle(await loadBackend('reference'));
  return testOp(op, await loadBackend(name), oracle, effort);
}

export const end = (name: string): Promise<void> => disposeBackend(name);

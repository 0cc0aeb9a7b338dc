/** What a page runs to be tested: ops on a backend with the oracle beside it, and dumps of the PyTorch reference. */
import '../../index.js';
import { type BackendOptions, disposeBackend, loadBackend } from '../../backends/index.js';
import { type ParityCase, runParity } from '../../beit3/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { empty } from '../../core/tensor.js';
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

/** What a backend that was loaded tells of itself. */
export async function details(name: string): Promise<NonNullable<Backend['details']>> {
  return (await loadBackend(name)).details ?? {};
}

/** What is said when a backend has no room for a tensor of so many bytes. */
export async function tooLarge(name: string, bytes: number): Promise<string> {
  const backend = await loadBackend(name);
  try {
    empty([bytes], 'uint8', backend).dispose();
    return 'there is room';
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

/** Runs a dump of the PyTorch reference on a backend that was loaded. */
export async function parity(path: string, name: string): Promise<ParityCase> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const file = new File([await response.blob()], path);
  const { cases } = await runParity([file], { backend: await loadBackend(name) });
  return cases[0];
}

export const end = (name: string): Promise<void> => disposeBackend(name);

/** Runs the cases of ops and gathers what came out. */
import type { Backend } from '../../core/backend.js';
import { messageOf } from '../../core/errors.js';
import type { Oracle } from '../support/run.js';
import { type Case, conformanceCases, type Effort, type Part } from './cases.js';

export interface OpReport {
  readonly op: string;
  /** Results that were compared, by part. */
  readonly compared: Partial<Record<Part, number>>;
  /** Each names its part. */
  readonly failures: readonly string[];
}

const byOp = new Map<string, Case[]>();
const casesByOp = (): ReadonlyMap<string, readonly Case[]> => {
  if (byOp.size === 0) for (const c of conformanceCases()) byOp.set(c.op, [...(byOp.get(c.op) ?? []), c]);
  return byOp;
};

/** Names of the ops that have cases. */
export const testedOps = (): string[] => [...casesByOp().keys()];

/** All parts of an op on a backend. */
export async function testOp(op: string, backend: Backend, oracle: Oracle, effort: Effort): Promise<OpReport> {
  const compared: Partial<Record<Part, number>> = {};
  const failures: string[] = [];
  for (const c of casesByOp().get(op) ?? []) {
    if (c.part === 'large' && effort.grids === 'usual') continue;
    try {
      const outcome = await c.run(backend, oracle, effort);
      compared[c.part] = outcome.compared;
      failures.push(...outcome.failures.map((text) => `${c.part}: ${text}`));
      if (outcome.compared === 0 && outcome.failures.length === 0) failures.push(`${c.part}: nothing was compared`);
    } catch (error) {
      failures.push(`${c.part}: ${messageOf(error)}`);
    }
  }
  return { op, compared, failures };
}

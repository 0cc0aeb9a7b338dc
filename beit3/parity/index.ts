/** Numeric parity with the PyTorch reference: runs dumps of its numbers and compares. */
import type { Backend } from '../../core/backend.js';
import { InputError, messageOf } from '../../core/errors.js';
import { runnerOf } from './cases.js';
import { type Comparison, compareGradient, compareValues, norm } from './compare.js';
import { Dump, nameOf, type Values } from './dump.js';
import { type Results, scalar } from './run.js';

export type { Comparison } from './compare.js';
export { TOLERANCE } from './compare.js';

export interface ParityCase {
  readonly file: string;
  readonly task: string;
  readonly device: string;
  readonly ok: boolean;
  /** Why the case could not run. */
  readonly error?: string;
  readonly outputs: Record<string, Comparison>;
  readonly hidden: Record<string, Comparison>;
  readonly grads: Record<string, Comparison>;
}

export interface ParityReport {
  readonly ok: boolean;
  readonly cases: readonly ParityCase[];
}

/** Runs every dump (a path, or a File in a page) on a backend; a file that cannot run is a case with an error. */
export async function runParity(
  files: readonly (string | File)[],
  { backend }: { readonly backend: Backend },
): Promise<ParityReport> {
  const cases: ParityCase[] = [];
  for (const file of files) cases.push(await runCase(file, backend));
  return { ok: cases.length > 0 && cases.every((c) => c.ok), cases };
}

async function runCase(from: string | File, backend: Backend): Promise<ParityCase> {
  const blank = { file: nameOf(from), device: backend.name, outputs: {}, hidden: {}, grads: {} };
  let task = 'unknown';
  try {
    const dump = await Dump.open(from, backend);
    try {
      task = dump.task;
      const compared = await compareAll(dump, await runnerOf(dump)(dump));
      const all = [compared.outputs, compared.hidden, compared.grads].flatMap((g) => Object.values(g));
      return { ...blank, task, ok: all.length > 0 && all.every((c) => c.ok), ...compared };
    } finally {
      await dump.close();
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const message = messageOf(error);
    // An operation that was given operands that do not fit knows nothing of files.
    return { ...blank, task, ok: false, error: message.includes(blank.file) ? message : `${blank.file}: ${message}` };
  }
}

async function compareAll(dump: Dump, results: Results): Promise<Pick<ParityCase, 'outputs' | 'hidden' | 'grads'>> {
  const outputs: Record<string, Comparison> = {};
  for (const [name, want] of await expectedOutputs(dump)) {
    outputs[name] = compareValues(results.outputs.get(name), want, results.noise?.get(name));
  }
  const hidden: Record<string, Comparison> = {};
  for (const name of dump.group('hidden/').keys())
    hidden[name] = compareValues(results.hidden.get(name), await dump.values(`hidden/${name}`));
  const wanted = dump.group('grad/');
  // Read twice, and never held all at once: those of a full-size model fill a gigabyte.
  const norms: number[] = [];
  for (const name of wanted.keys()) norms.push(norm((await dump.values(`grad/${name}`)).values));
  const total = norm(norms);
  const grads: Record<string, Comparison> = {};
  for (const name of wanted.keys())
    grads[name] = compareGradient(results.grads.get(name), await dump.values(`grad/${name}`), total);
  // A gradient for a parameter that takes no part in the reference is wrong too.
  for (const name of results.grads.keys()) {
    if (!wanted.has(name))
      grads[name] = { maxAbs: Number.POSITIVE_INFINITY, relNorm: Number.POSITIVE_INFINITY, ok: false };
  }
  return { outputs, hidden, grads };
}

/** The dump's outputs; recalls lie in its metadata. */
async function expectedOutputs(dump: Dump): Promise<Map<string, Values>> {
  if (dump.task === 'retrieval_recall') {
    return new Map(Object.entries(dump.json('expected')).map(([name, v]) => [name, scalar(Number(v))]));
  }
  const outputs = new Map<string, Values>();
  for (const name of dump.group('output/').keys()) outputs.set(name, await dump.values(`output/${name}`));
  return outputs;
}

/** One call of an op on a backend, and what came out of it. Runs in Node and in a page. */
import { propagate } from '../../autograd/backward.js';
import { takeGrad } from '../../autograd/grad.js';
import { edgeOf } from '../../autograd/node.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { type DType, isFloat } from '../../core/dtype.js';
import { OpError } from '../../core/errors.js';
import { keep } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import type { Tensor } from '../../core/tensor.js';
import { assertSame, shown } from './compare.js';
import { operand, operands, type Trial } from './samples.js';
import { kindOf, toleranceOf } from './tolerance.js';
import { readAll, type Values, withoutLeak } from './values.js';

/** By name: output/i, input/i of the inputs that the op writes, grad/i of the float inputs. */
export type Results = Record<string, Values>;

/** The results of a trial, with gradients where they are wanted; or why the op refuses the operands. */
export async function runOn(backend: Backend, trial: Trial, gradients: boolean): Promise<Results | string> {
  const { op, sample, seed } = trial;
  const before = setDefaultBackend(backend);
  try {
    return await withoutLeak(backend, () =>
      readAll(() => {
        const inputs = noGrad(() => operands(trial));
        const leaves = gradients ? inputs.filter((t): t is Tensor => t !== null && isFloat(t.dtype)) : [];
        for (const t of leaves) t.requireGrad();
        const outputs = call(op, inputs, sample.attrs);
        const results: [string, Tensor][] = outputs.map((t, i) => [`output/${i}`, t]);
        for (const i of op.mutates?.(sample.attrs) ?? []) results.push([`input/${i}`, inputs[i] as Tensor]);
        if (leaves.length > 0) backwardFrom(outputs, seed);
        leaves.forEach((leaf, i) => {
          const g = takeGrad(leaf);
          if (g) results.push([`grad/${i}`, g]);
        });
        return Object.fromEntries(results);
      }),
    );
  } catch (error) {
    if (error instanceof OpError) return error.message;
    throw error;
  } finally {
    setDefaultBackend(before);
  }
}

/** Backward from random gradients of all outputs that have one. */
function backwardFrom(outputs: readonly Tensor[], seed: number): void {
  noGrad(() => {
    const seeds = outputs.flatMap((t, i) => {
      const edge = edgeOf(t);
      const input = { shape: t.shape, dtype: t.dtype };
      return edge ? [{ edge, gradient: keep(operand(input, 'contiguous', seed + 1000 + i)) }] : [];
    });
    propagate(seeds, false);
  });
}

/** What a trial is, for messages. */
export function describe({ op, sample, dtype, layout, seed, special }: Trial): string {
  const inputs = sample.inputs.map((x) => x && `${x.dtype ?? dtype}[${x.shape.join(', ')}]`).join(', ');
  const marks = special === undefined ? '' : ` with ${shown(special)}`;
  return `${op.name}(${inputs}) ${JSON.stringify(sample.attrs, (_, v) => (typeof v === 'number' && !Number.isFinite(v) ? String(v) : v))} ${layout}, seed ${seed}${marks}`;
}

/** Whether a backend stores every dtype of a trial. */
export function stores({ caps }: Backend, { sample, dtype }: Trial): boolean {
  const wanted = 'dtype' in sample.attrs ? (sample.attrs.dtype as DType) : dtype;
  return [wanted, ...sample.inputs.map((x) => x?.dtype ?? dtype)].every((d) => caps.dtypes.has(d));
}

/** Whether a trial is differentiated: in float32, and in float16 where the backend computes in it. */
function differentiates({ caps }: Backend, { op, dtype, special }: Trial): boolean {
  if (op.nonDifferentiable || special !== undefined) return false;
  return dtype === 'float32' || (dtype === 'float16' && !caps.storageOnly.has('float16'));
}

/** The backend that says what is right; it runs each trial once for all others. */
export class Oracle {
  readonly #known = new Map<string, Results | string>();
  constructor(readonly backend: Backend) {}

  async results(trial: Trial, gradients: boolean): Promise<Results | string> {
    const { op, sample, dtype, layout, seed, special } = trial;
    const key = JSON.stringify([op.name, sample, dtype, layout, seed, String(special), gradients]);
    let known = this.#known.get(key);
    if (known === undefined) {
      known = await runOn(this.backend, trial, gradients);
      this.#known.set(key, known);
    }
    return known;
  }
}

/**
 * Runs a trial on a backend and compares with the oracle, with `slack` times the absolute tolerance; the number of
 * results that were compared. Throws for one that differs.
 */
export async function compareOn(oracle: Oracle, backend: Backend, trial: Trial, slack = 1): Promise<number> {
  if (!stores(backend, trial)) return 0;
  const gradients = differentiates(backend, trial);
  const wanted = await oracle.results(trial, gradients);
  const got = await runOn(backend, trial, gradients).catch((error: unknown) => {
    throw new Error(`${describe(trial)}: ${error instanceof Error ? error.message : error}`);
  });
  const what = describe(trial);
  if (typeof got === 'string' || typeof wanted === 'string') {
    if (typeof wanted !== 'string') throw new Error(`${what}: refused by ${backend.name} alone: ${got}`);
    if (typeof got !== 'string') throw new Error(`${what}: refused by the oracle alone: ${wanted}`);
    return 0;
  }
  const names = Object.keys(wanted);
  if (String(Object.keys(got)) !== String(names)) {
    throw new Error(`${what}: got results ${Object.keys(got).join(', ')}, wanted ${names.join(', ')}`);
  }
  const own = kindOf(trial.op);
  for (const [name, values] of Object.entries(wanted)) {
    const kind = name.startsWith('grad/') && own !== 'amplified' ? 'gradient' : own;
    const { relative, absolute } = toleranceOf(values.dtype as DType, kind);
    assertSame(got[name], values, { relative, absolute: slack * absolute }, `${what}: ${name}`);
  }
  return names.length;
}

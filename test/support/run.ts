/** One call of an op on a backend, and what came out of it. */
import assert from 'node:assert/strict';
import { propagate } from '../../autograd/backward.js';
import { takeGrad } from '../../autograd/grad.js';
import { edgeOf } from '../../autograd/node.js';
import type { Attrs, Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { type DType, isFloat } from '../../core/dtype.js';
import { OpError } from '../../core/errors.js';
import { keep } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import type { OpDefinition, Sample } from '../../core/op.js';
import type { Tensor } from '../../core/tensor.js';
import { readAll, type Values, withoutLeak } from './backends.js';
import { assertSame } from './compare.js';
import { type LayoutName, operand, operands } from './samples.js';
import { kindOf, toleranceOf } from './tolerance.js';

export interface Trial {
  readonly op: OpDefinition<Attrs>;
  readonly sample: Sample<Attrs>;
  readonly dtype: DType;
  readonly layout: LayoutName;
  readonly seed: number;
}

/** Results by name: output/i, the inputs that the op writes, and grad/i when `gradients`. Null: the op refuses the operands. */
export async function runOn(
  backend: Backend,
  trial: Trial,
  gradients: boolean,
): Promise<Record<string, Values> | null> {
  const { op, sample, dtype, layout, seed } = trial;
  const before = setDefaultBackend(backend);
  try {
    return await withoutLeak(backend, () =>
      readAll(() => {
        const inputs = noGrad(() => operands(sample, dtype, layout, seed));
        const leaves = gradients ? inputs.filter((t): t is Tensor => t !== null && isFloat(t.dtype)) : [];
        for (const t of leaves) t.requireGrad();
        const outputs = call(op, inputs, sample.attrs);
        const results: [string, Tensor][] = outputs.map((t, i) => [`output/${i}`, t]);
        for (const i of op.mutates?.(sample.attrs) ?? []) results.push([`input/${i}`, inputs[i] as Tensor]);
        if (gradients) {
          backwardFrom(outputs, seed);
          leaves.forEach((leaf, i) => {
            const g = takeGrad(leaf);
            if (g) results.push([`grad/${i}`, g]);
          });
        }
        return Object.fromEntries(results);
      }),
    );
  } catch (error) {
    if (error instanceof OpError) return null;
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

/** Runs a trial on the oracle and on a backend; the number of results that were compared. */
export async function compareOn(oracle: Backend, backend: Backend, trial: Trial, gradients: boolean): Promise<number> {
  const wanted = await runOn(oracle, trial, gradients);
  const got = await runOn(backend, trial, gradients);
  const what = `${trial.op.name} ${JSON.stringify(trial.sample)} ${trial.dtype} ${trial.layout}`;
  assert.equal(got === null, wanted === null, `${what}: refused by one of the two`);
  if (got === null || wanted === null) return 0;
  assert.deepEqual(Object.keys(got), Object.keys(wanted), what);
  for (const [name, values] of Object.entries(wanted)) {
    const own = kindOf(trial.op);
    const kind = name.startsWith('grad/') && own !== 'amplified' ? 'gradient' : own;
    assertSame(got[name], values, toleranceOf(values.dtype as DType, kind), `${what}: ${name}`);
  }
  return Object.keys(wanted).length;
}

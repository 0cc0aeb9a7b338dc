/** Every differentiable op against finite differences in float64, on its samples and on random shapes. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { gradcheck } from '../../autograd/gradcheck.js';
import '../../index.js';
import type { Attrs } from '../../core/backend.js';
import { call } from '../../core/dispatch.js';
import { OpError } from '../../core/errors.js';
import { keep, scope } from '../../core/memory.js';
import type { OpDefinition, Sample } from '../../core/op.js';
import type { Tensor } from '../../core/tensor.js';
import { testOn } from '../support/backends.js';
import { operands, resized, sampledOps } from '../support/samples.js';

/** Checks the gradients of all float operands of a sample; false when the op refuses them. */
async function check(op: OpDefinition<Attrs>, sample: Sample<Attrs>, seed: number): Promise<boolean> {
  const all = scope(() => operands({ sample, dtype: 'float64', layout: 'contiguous', seed }));
  for (const t of all) if (t) keep(t);
  const given = all.filter((t): t is Tensor => t !== null);
  for (const t of given) if (t.dtype === 'float64') t.requireGrad();
  const differentiable = op.vjp?.auxiliary ?? Number.POSITIVE_INFINITY;
  const fn = (...present: Tensor[]) => {
    const next = present.values();
    const inputs = all.map((t) => t && (next.next().value as Tensor));
    return call(op, inputs, sample.attrs).slice(0, differentiable);
  };
  try {
    await gradcheck(fn, given, { tolerance: 1e-6 });
    return true;
  } catch (error) {
    if (error instanceof OpError) return false;
    throw error;
  } finally {
    for (const t of given) t.dispose();
  }
}

/** Integers have no gradient, a cast to 16 bits has no differences to measure, Infinity cannot be weighed. */
const skipped = (name: string, { attrs, inputs }: Sample<Attrs>): boolean =>
  name === 'cast' ||
  ('value' in attrs && !Number.isFinite(attrs.value)) ||
  inputs.every((input) => input?.dtype !== undefined);

for (const { op, samples } of sampledOps()) {
  if (op.nonDifferentiable || samples.every((s) => skipped(op.name, s))) continue;
  testOn('reference', `gradient of ${op.name}`, async () => {
    const usable = samples.filter((s) => !skipped(op.name, s));
    let checked = 0;
    for (const [i, sample] of usable.entries()) if (await check(op, sample, 17 + i)) checked++;
    assert.equal(checked, usable.length, `${op.name} refuses its own samples`);
    const small = fc.array(fc.constantFrom(0, 1, 2, 3), { minLength: 8, maxLength: 8 });
    const property = fc.asyncProperty(fc.nat(), small, fc.integer({ min: 1, max: 1e6 }), async (which, sizes, seed) => {
      const next = sizes.values();
      const sample = resized(usable[which % usable.length], () => next.next().value ?? 2);
      fc.pre(sample.inputs.every((x) => x?.dtype !== 'int32' || x.high !== 0));
      await check(op, sample, seed);
    });
    await fc.assert(property, { numRuns: 6, seed: 7 });
  });
}

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { COURSES, STEPS, tinyModel, tinySteps, trainTiny } from '../reference/tiny.js';
import { fixture } from '../support/fixtures.js';

/** The losses of the official PyTorch model, from the same weights on the same batches; made by test/reference/curves.py. */
const curves = JSON.parse(readFileSync(fixture('curves.json'), 'utf8')) as Record<string, number[]>;

const differences = (ours: readonly number[], theirs: readonly number[]): number[] =>
  ours.map((loss, i) => Math.abs(loss - theirs[i]) / theirs[i]);

describe(`${STEPS} steps of training beside PyTorch`, () => {
  after(() => disposeBackend('wasm'));

  for (const course of COURSES) {
    it(`${course}: the loss of every step`, async () => {
      const backend = await useBackend('wasm', { threads: 1 });
      const before = backend.stats.liveBytes;
      const model = tinyModel(course, backend);
      const losses = await trainTiny(course, model);
      model.dispose();
      assert.equal(losses.length, STEPS);
      const ours = losses.flat();
      assert.equal(ours.length, curves[course].length);
      const far = differences(ours, curves[course]);
      const worst = Math.max(...far);
      const at = far.indexOf(worst);
      assert.ok(worst < 0.01, `batch ${at}: ${ours[at]} here, ${curves[course][at]} in PyTorch`);
      // So near that another weight decay, clipping or schedule would show.
      const mean = far.reduce((a, b) => a + b) / far.length;
      assert.ok(mean < 1e-4, `losses differ by ${mean} on average`);
      assert.ok(ours[ours.length - 1] < 0.9 * ours[0] || course === 'joint', 'nothing was learnt');
      assert.equal(backend.stats.liveBytes, before);
    });
  }

  it('a learning rate that is 2% off shows', async () => {
    const backend = await useBackend('wasm', { threads: 1 });
    const steps = Array.from(tinySteps('vqav2', 100), (step) => ({ ...step, lr: 1.02 * step.lr }));
    const model = tinyModel('vqav2', backend);
    const losses = await trainTiny('vqav2', model, steps);
    model.dispose();
    const far = differences(losses.flat(), curves.vqav2);
    assert.ok(far.reduce((a, b) => a + b) / far.length > 1e-4);
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../core/errors.js';
import { type ScheduleOptions, schedule } from '../../nn/schedules.js';
import { readJson } from '../support/fixtures.js';

interface Arguments {
  readonly base: number;
  readonly final: number;
  readonly epochs: number;
  readonly steps_per_epoch: number;
  readonly warmup_epochs: number;
  readonly start: number;
  readonly warmup_steps?: number;
  readonly sched_type?: 'linear';
}

const { schedules, schedule_args } = await readJson<{
  readonly schedules: Record<string, { readonly values: number[] }>;
  readonly schedule_args: Record<string, Arguments>;
}>('schedules_answers.json');

for (const [name, { values }] of Object.entries(schedules)) {
  test(`schedule ${name} is the reference's`, () => {
    const a = schedule_args[name];
    const got = schedule({
      base: a.base,
      final: a.final,
      epochs: a.epochs,
      stepsPerEpoch: a.steps_per_epoch,
      warmupEpochs: a.warmup_epochs,
      warmupSteps: a.warmup_steps,
      warmupStart: a.start,
      shape: a.sched_type,
    });
    assert.equal(got.length, values.length);
    for (const [i, v] of values.entries()) {
      assert.ok(Math.abs(got[i] - v) <= 1e-12 * Math.max(v, 1e-6), `step ${i}: got ${got[i]}, wanted ${v}`);
    }
  });
}

const plain: ScheduleOptions = { base: 1, final: 0.1, epochs: 2, stepsPerEpoch: 4 };

test('without warm-up a schedule starts at its base', () => {
  assert.equal(schedule(plain)[0], 1);
  assert.equal(schedule(plain).length, 8);
  const linear = schedule({ ...plain, shape: 'linear' });
  assert.deepEqual([linear[0], linear[7]], [1, 0.1]);
});

test('a schedule may be all warm-up, and steps of warm-up need no epochs of it', () => {
  assert.deepEqual(schedule({ ...plain, warmupSteps: 8 }).at(-1), 1);
  const four = schedule({ ...plain, warmupSteps: 4, warmupStart: 0.25 });
  assert.deepEqual(four.slice(0, 5), [0.25, 0.5, 0.75, 1, 1]);
});

test('a schedule that cannot hold its warm-up is refused', () => {
  assert.throws(() => schedule({ ...plain, warmupEpochs: 3 }), {
    name: InputError.name,
    message: /A schedule of 8 steps cannot hold 12 steps of warm-up/,
  });
  assert.throws(() => schedule({ ...plain, epochs: 0 }), InputError);
  assert.throws(() => schedule({ ...plain, epochs: Number.NaN }), InputError);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import * as init from '../../nn/init.js';

const SHAPE = [200, 100];
const N = 20_000;

function statistics(values: Float32Array) {
  const mean = values.reduce((s, v) => s + v, 0) / values.length;
  const std = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length);
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return { mean, std, low, high };
}

/** Draws from `make` and checks mean, deviation (five standard errors) and bounds. */
function check(
  make: init.Initializer,
  mean: number,
  std: number,
  low = Number.NEGATIVE_INFINITY,
  high = Number.POSITIVE_INFINITY,
) {
  const values = make(SHAPE, new Generator(1));
  assert.equal(values.length, N);
  const s = statistics(values);
  assert.ok(Math.abs(s.mean - mean) < (5 * std) / Math.sqrt(N), `mean ${s.mean}, wanted ${mean}`);
  assert.ok(Math.abs(s.std / std - 1) < 5 / Math.sqrt(2 * N), `deviation ${s.std}, wanted ${std}`);
  assert.ok(s.low >= low - 1e-6 && s.high <= high + 1e-6, `${s.low} to ${s.high}`);
  // A bound that is far from what is drawn would prove nothing.
  if (Number.isFinite(high)) assert.ok(s.low < low + 0.01 * std && s.high > high - 0.01 * std);
  assert.deepEqual(make(SHAPE, new Generator(1)), values, 'a seed decides the values');
  assert.notDeepEqual(make(SHAPE, new Generator(2)), values);
}

test('constants', () => {
  assert.deepEqual([...init.zeros([2, 2], new Generator(1))], [0, 0, 0, 0]);
  assert.deepEqual([...init.ones([3], new Generator(1))], [1, 1, 1]);
  assert.deepEqual([...init.constant(2.5)([], new Generator(1))], [2.5]);
});

test('uniform', () => check(init.uniform(-1, 3), 1, 4 / Math.sqrt(12), -1, 3));

test('normal', () => check(init.normal(0.5, 2), 2, 0.5));

test('truncatedNormal within one deviation, as the reference cuts', () => {
  // Variance of a standard normal cut at 1: 1 - 2 phi(1) / (2 Phi(1) - 1).
  check(init.truncatedNormal(0.02), 0, 0.02 * Math.sqrt(1 - (2 * 0.24197072) / 0.68268949), -0.02, 0.02);
});

test('truncatedNormal within another bound', () => {
  // Cut at 2: variance 1 - 4 phi(2) / (2 Phi(2) - 1).
  check(init.truncatedNormal(1, 2), 0, Math.sqrt(1 - (4 * 0.05399097) / 0.95449974), -2, 2);
  assert.throws(() => init.truncatedNormal(1, 1e-4)([2], new Generator(1)), InputError);
});

test('xavierUniform', () => {
  const bound = Math.sqrt(6 / 300);
  check(init.xavierUniform(), 0, bound / Math.sqrt(3), -bound, bound);
  check(init.xavierUniform(2), 0, (2 * bound) / Math.sqrt(3), -2 * bound, 2 * bound);
});

test('fanInUniform', () => {
  check(init.fanInUniform(), 0, 0.1 / Math.sqrt(3), -0.1, 0.1);
  check(init.fanInUniform(25), 0, 0.2 / Math.sqrt(3), -0.2, 0.2);
});

test('scaled', () => check(init.scaled(init.uniform(0, 1), 0.001), 0.0005, 0.001 / Math.sqrt(12), 0, 0.001));

test('fans count the kernel', () => {
  assert.deepEqual(init.fans([8, 3, 4, 4]), { fanIn: 48, fanOut: 128 });
  assert.deepEqual(init.fans([8, 3]), { fanIn: 3, fanOut: 8 });
});

/** Random numbers: the published generator, the same on every backend, resumable. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { takeGrad } from '../../autograd/grad.js';
import { loadBackend } from '../../backends/index.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { dropout, ones, rand, randn, randomBits, sum } from '../../core/ops/index.js';
import { defaultGenerator, Generator, manualSeed, philox } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { BACKENDS, readAll, readOne, testEach } from '../support/backends.js';

/** Words of blocks by key and counter; the first is a known answer of Random123, the others of its algorithm elsewhere. */
const ANSWERS = [
  { key: [0, 0], counter: [0, 0], words: ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8'] },
  { key: [1, 2], counter: [3, 0], words: ['79b4d6b0', '32709da3', '5d46c08a', '06fb0b33'] },
  {
    key: [0xffffffff, 0x80000001],
    counter: [0xfffffffe, 7],
    words: [
      ...['85602289', 'e2ca129e', '2488d6db', 'ddbfb317', '62036137', '2485d9b3', 'e3c82b0b', 'a307bdaf'],
      ...['ee0749f0', '05debf5f', '4b60ef89', '57730e91'],
    ],
  },
] as const;

const hex = (words: Uint32Array): string[] => [...words].map((w) => w.toString(16).padStart(8, '0'));

test('philox gives the known answers, also where the counter carries', () => {
  for (const { key, counter, words } of ANSWERS) {
    const out = new Uint32Array(words.length);
    philox(key, counter, out);
    assert.deepEqual(hex(out), words);
    const part = new Uint32Array(words.length - 1);
    philox(key, counter, part);
    assert.deepEqual(hex(part), words.slice(0, -1));
  }
});

testEach('randomBits are the words of the generator', async () => {
  for (const { key, counter, words } of ANSWERS) {
    const bits = await readOne(() => randomBits([words.length], key, counter));
    assert.deepEqual(hex(Uint32Array.from(bits.data)), words);
  }
  const large = await readOne(() => randomBits([37, 41], [5, 6], [0xfffffff0, 0]));
  const wanted = new Uint32Array(37 * 41);
  philox([5, 6], [0xfffffff0, 0], wanted);
  assert.deepEqual(Uint32Array.from(large.data), wanted);
});

test('a generator repeats from its seed and continues from its state', () => {
  const a = new Generator(42);
  const b = new Generator(42);
  assert.deepEqual(a.uniform(10), b.uniform(10));
  const state = JSON.parse(JSON.stringify(a.state()));
  const next = a.normal(7);
  assert.deepEqual(new Generator(1).restore(state).normal(7), next);
  assert.notDeepEqual(a.normal(7), next);
  assert.notDeepEqual(new Generator(43).uniform(10), new Generator(42).uniform(10));
  assert.equal(manualSeed(9), defaultGenerator());
  assert.deepEqual(defaultGenerator().state(), { seed: 9, counter: 0 });
  assert.notDeepEqual(new Generator(2 ** 40).uniform(4), new Generator(0).uniform(4));
  for (const seed of [-1, 0.5, Number.NaN, 2 ** 53]) assert.throws(() => new Generator(seed), InputError);
});

/** Mean, standard deviation, smallest and largest of numbers. */
function describe(values: ArrayLike<number>): { mean: number; std: number; min: number; max: number } {
  const list = Array.from(values);
  const mean = list.reduce((a, b) => a + b, 0) / list.length;
  const std = Math.sqrt(list.reduce((a, b) => a + (b - mean) ** 2, 0) / list.length);
  return { mean, std, min: Math.min(...list), max: Math.max(...list) };
}

const near = (got: number, wanted: number, by: number) =>
  assert.ok(Math.abs(got - wanted) <= by, `got ${got}, wanted ${wanted} within ${by}`);

test('the distributions have their moments and bounds', () => {
  const g = new Generator(3);
  const n = 20_000;
  const uniform = describe(g.uniform(n));
  near(uniform.mean, 0.5, 0.01);
  near(uniform.std, 1 / Math.sqrt(12), 0.01);
  assert.ok(uniform.min >= 0 && uniform.max < 1);
  const normal = describe(g.normal(n));
  near(normal.mean, 0, 0.03);
  near(normal.std, 1, 0.03);
  assert.ok(normal.max > 3 && normal.min < -3);
  const truncated = describe(g.truncatedNormal(n, -1, 1));
  near(truncated.mean, 0, 0.02);
  near(truncated.std, 0.5396, 0.01);
  assert.ok(truncated.min >= -1 && truncated.max <= 1);
  assert.equal(g.truncatedNormal(1001, 0.5, 3).length, 1001);
  assert.throws(() => g.truncatedNormal(3, 9, 10), InputError);
  const integers = g.integers(n, -2, 3);
  assert.deepEqual([...new Set(integers)].sort(), [-1, -2, 0, 1, 2]);
  near(describe(integers).mean, 0, 0.05);
  assert.throws(() => g.integers(1, 3, 3), InputError);
  const permutation = g.permutation(101);
  assert.deepEqual(
    [...permutation].sort((a, b) => a - b),
    [...Array(101).keys()],
  );
  assert.notDeepEqual(permutation, g.permutation(101));
  assert.equal(g.permutation(0).length, 0);
});

testEach('rand and randn are the numbers of their generator', async () => {
  const uniform = await readOne(() => rand([3, 5], { generator: new Generator(8) }));
  assert.deepEqual(uniform.data, new Generator(8).uniform(15));
  const normal = await readOne(() => randn([7], { generator: new Generator(8) }));
  assert.deepEqual(normal.data, new Generator(8).normal(7));
  manualSeed(8);
  assert.deepEqual((await readOne(() => rand([15]))).data, uniform.data);
});

testEach('dropout scales what it keeps, and its gradient has the same mask', async () => {
  const { y, g } = await readAll(() => {
    const x = ones([50, 40]).requireGrad();
    const y = dropout(x, 0.3, { generator: new Generator(4) });
    backward(sum(y));
    return { y, g: takeGrad(x) as Tensor };
  });
  assert.deepEqual(g.data, y.data);
  const kept = Array.from(y.data).filter((v) => v !== 0);
  for (const v of kept) near(v, 1 / 0.7, 1e-6);
  near(kept.length / 2000, 0.7, 0.03);
  const none = await readOne(() => dropout(ones([9]), 1));
  assert.ok(Array.from(none.data).every((v) => v === 0));
  const two = await readAll(() => ({ a: dropout(ones([99]), 0.5), b: dropout(ones([99]), 0.5) }));
  assert.notDeepEqual(two.a.data, two.b.data);
});

test('dropout has the same mask on every backend', async () => {
  const masks: boolean[][] = [];
  for (const name of BACKENDS) {
    setDefaultBackend(await loadBackend(name, { threads: 2 }));
    const mask = await readOne(() => dropout(ones([300, 100]), 0.1, { generator: new Generator(77) }));
    masks.push(Array.from(mask.data, (v) => v !== 0));
  }
  for (const mask of masks) assert.deepEqual(mask, masks[0]);
});

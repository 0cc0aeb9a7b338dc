/** Relative positions at another resolution, beside the code for fine-tuning BEiT v2. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { distanceCount } from '../../beit3/vit/relativePositions.js';
import { gridOfTable, resizeDistances, splineWeights } from '../../beit3/vit/resizeTables.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import { readJson } from '../support/fixtures.js';

/** Written by test/reference/relative_positions.py. */
interface Case {
  readonly from: number;
  readonly to: number;
  readonly table: number[];
  readonly resized: number[];
}

describe('tables of relative positions', () => {
  it('are resized as the official code resizes them, larger and smaller', async () => {
    const cases = await readJson<Case[]>('relative_positions.json');
    assert.equal(cases.length, 5);
    for (const { from, to, table, resized } of cases) {
      const ours = resizeDistances(Float32Array.from(table), from, to);
      assert.equal(ours.length, resized.length);
      const far = Math.max(...resized.map((v, i) => Math.abs(v - ours[i])));
      assert.ok(far < 5e-6, `${from} to ${to}: ${far} away`);
    }
  });

  it('keep a cubic polynomial and the values at the knots', () => {
    const knots = [-5, -3, -1.2, 0, 0.7, 2, 4.5];
    const cubic = (x: number): number => 0.3 * x ** 3 - x ** 2 + 2 * x - 7;
    const places = [-5, -4.1, -1.2, 0.3, 1.1, 3.9, 4.5, 9];
    const weights = splineWeights(knots, places);
    places.forEach((place, row) => {
      const value = knots.reduce((sum, x, k) => sum + weights[row * knots.length + k] * cubic(x), 0);
      assert.ok(Math.abs(value - cubic(Math.min(place, 4.5))) < 1e-9, `at ${place}: ${value}`);
    });
  });

  it('tell their grid, and refuse one that is too small', () => {
    assert.equal(gridOfTable(distanceCount(14)), 14);
    assert.equal(gridOfTable(distanceCount(14) + 1), null);
    assert.equal(gridOfTable(19), null, '4 x 4 distances are those of no grid');
    const table = new Generator(1).normal(distanceCount(2) * 3);
    assert.throws(() => resizeDistances(table, 2, 4), InputError);
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ClassificationBatch } from '../../beit3/data/batch.js';
import { randomBeta } from '../../beit3/data/transforms/beta.js';
import { type MixOptions, mixBatch } from '../../beit3/data/transforms/index.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import { assertOften, moments } from './transformsPictures.js';

const SIDE = 10;
const CLASSES = 12;
const LENGTH = 3 * SIDE * SIDE;

/** Picture i is i + 1 everywhere and has label i. */
function batchOf(size: number): ClassificationBatch {
  const images = new Float32Array(size * LENGTH);
  for (let i = 0; i < size; i++) images.fill(i + 1, i * LENGTH, (i + 1) * LENGTH);
  return {
    size,
    side: SIDE,
    images,
    files: Array.from({ length: size }, (_, i) => `${i}.png`),
    labels: Int32Array.from({ length: size }, (_, i) => i),
    targets: null,
  };
}

interface Mixed {
  /** Share of the picture itself, as the targets have it. */
  kept: number;
  isBox: boolean;
}

/**
 * What was done to each picture of a batch, after checking that picture and target tell the same: a blend or a box of
 * the partner's pixels in all channels alike.
 */
function inspect(before: ClassificationBatch, after: ClassificationBatch, smoothing: number): Mixed[] {
  const { size } = before;
  const { targets } = after;
  assert.ok(targets !== null && targets.length === size * CLASSES);
  return Array.from({ length: size }, (_, i) => {
    const target = targets.subarray(i * CLASSES, (i + 1) * CLASSES);
    assert.ok(Math.abs(target.reduce((sum, value) => sum + value, 0) - 1) < 1e-6);
    const [own, partner] = [i, size - 1 - i];
    target.forEach((value, label) => {
      if (label !== own && label !== partner) assert.equal(value, Math.fround(smoothing / CLASSES));
    });
    const kept = (target[own] - smoothing / CLASSES) / (1 - smoothing);
    const pixels = after.images.subarray(i * LENGTH, (i + 1) * LENGTH);
    const inBox = [...pixels].map((value) => value === partner + 1);
    const isBox = inBox.some(Boolean) || pixels.every((value) => value === own + 1);
    if (!isBox) {
      const blended = (own + 1) * kept + (partner + 1) * (1 - kept);
      assert.ok(
        pixels.every((value) => Math.abs(value - blended) < 1e-4),
        `${pixels[0]}, not ${blended}`,
      );
      return { kept, isBox };
    }
    assert.ok(pixels.every((value) => value === own + 1 || value === partner + 1));
    const plane = inBox.slice(0, SIDE * SIDE);
    for (const channel of [1, 2]) {
      assert.deepEqual(inBox.slice(channel * SIDE * SIDE, (channel + 1) * SIDE * SIDE), plane);
    }
    const at = [...plane.keys()].filter((pixel) => plane[pixel]);
    const columns = new Set(at.map((pixel) => pixel % SIDE)).size;
    const rows = new Set(at.map((pixel) => Math.floor(pixel / SIDE))).size;
    assert.equal(at.length, columns * rows);
    assert.ok(Math.abs(kept - (1 - at.length / SIDE ** 2)) < 1e-6, `${kept} kept of ${at.length} pasted`);
    return { kept, isBox };
  });
}

/** What was done in `count` batches of six. */
function draws(count: number, options: Partial<MixOptions>, seed: number): Mixed[][] {
  const random = new Generator(seed);
  const batch = batchOf(6);
  const settings = { classes: CLASSES, ...options };
  return Array.from({ length: count }, () =>
    inspect(batch, mixBatch(batch, settings, random), settings.smoothing ?? 0.1),
  );
}

describe('random numbers of the Beta distribution', () => {
  it('have its moments and its tails', () => {
    const random = new Generator(1);
    const N = 40_000;
    for (const [a, b] of [
      [0.001, 0.001],
      [0.2, 0.2],
      [0.8, 0.8],
      [1, 1],
      [2.5, 2.5],
      [0.5, 3],
      [40, 10],
    ]) {
      const values = Array.from({ length: N }, () => randomBeta(random, a, b));
      assert.ok(values.every((value) => value >= 0 && value <= 1));
      const [mean, variance] = moments(values);
      const [wantedMean, wantedVariance] = [a / (a + b), (a * b) / ((a + b) ** 2 * (a + b + 1))];
      assert.ok(Math.abs(mean - wantedMean) < 4 * Math.sqrt(wantedVariance / N), `Beta(${a}, ${b}): mean ${mean}`);
      assert.ok(Math.abs(variance / wantedVariance - 1) < 0.06, `Beta(${a}, ${b}): variance ${variance}`);
    }
  });

  it('follow the curve where it is known', () => {
    const random = new Generator(20);
    const N = 40_000;
    const known: [number, number, (x: number) => number][] = [
      [0.5, 0.5, (x) => (2 / Math.PI) * Math.asin(Math.sqrt(x))],
      [1, 1, (x) => x],
      [2, 1, (x) => x * x],
    ];
    for (const [a, b, curve] of known) {
      const values = Array.from({ length: N }, () => randomBeta(random, a, b)).sort((x, y) => x - y);
      // Kolmogorov and Smirnov's distance, which chance alone lets exceed this once in a thousand times.
      const distance = Math.max(...values.map((value, i) => Math.abs(curve(value) - (i + 0.5) / N)));
      assert.ok(distance * Math.sqrt(N) < 1.95, `Beta(${a}, ${b}): ${distance}`);
    }
  });
});

describe('mixing a batch', () => {
  it('blends a whole batch by one share of the Beta distribution, and leaves the old batch', () => {
    const shares = draws(800, { mixup: 0.8 }, 2).map((mixed) => {
      assert.ok(mixed.every(({ kept, isBox }) => !isBox && Math.abs(kept - mixed[0].kept) < 1e-6));
      return mixed[0].kept;
    });
    const [mean, variance] = moments(shares);
    assert.ok(Math.abs(mean - 0.5) < 0.04 && Math.abs(variance * 4 * 2.6 - 1) < 0.1, `${mean}, ${variance}`);

    const batch = batchOf(4);
    const mixed = mixBatch(batch, { classes: CLASSES, mixup: 1 }, new Generator(3));
    assert.deepEqual(batch, batchOf(4));
    assert.deepEqual([mixed.labels, mixed.files, mixed.size, mixed.side], [batch.labels, batch.files, 4, SIDE]);
    assert.deepEqual(mixed, mixBatch(batch, { classes: CLASSES, mixup: 1 }, new Generator(3)));
    assert.notDeepEqual(mixed.images, mixBatch(batch, { classes: CLASSES, mixup: 1 }, new Generator(4)).images);
  });

  it('pastes a box, and counts it as large as it came out', () => {
    const batches = draws(800, { cutmix: 1 }, 5);
    assert.ok(batches.every((mixed) => mixed.every(({ isBox, kept }) => isBox && kept === mixed[0].kept)));
    const kept = batches.map(([first]) => first.kept);
    // What Python's `random` gives by timm's formula, for a side of 10.
    const [mean, variance] = moments(kept);
    assert.ok(Math.abs(mean - 0.7497) < (5 * 0.1658) / Math.sqrt(800), `mean ${mean}`);
    assert.ok(Math.abs(Math.sqrt(variance) / 0.1658 - 1) < 0.08, `deviation ${Math.sqrt(variance)}`);
    assertOften(kept.filter((share) => share > 1 - 1e-6).length, 800, 0.0403);
  });

  it('pastes boxes of a range of sides', () => {
    const kept = draws(800, { cutmixRange: [0.2, 0.8] }, 6).map(([first]) => first.kept);
    // Sides of 2 to 7, independent: the mean area is 4.5 squared.
    const [mean] = moments(kept);
    assert.ok(
      Math.abs(1 - mean - 0.2025) < 0.02 && Math.min(...kept) >= 0.51 - 1e-6 && Math.max(...kept) <= 0.96 + 1e-6,
    );
  });

  it('switches between both and does neither, by their probabilities', () => {
    const batches = draws(1000, { mixup: 1, cutmix: 1, probability: 0.6, switchProbability: 0.3 }, 7);
    const pasted = batches.filter(([first]) => first.isBox && first.kept < 1).length;
    const blended = batches.filter(([first]) => !first.isBox).length;
    assertOften(blended, 1000, 0.42);
    assertOften(pasted, 1000, 0.18 * (1 - 0.0403));
  });

  it('mixes pairs and single pictures by themselves', () => {
    for (const options of [{ mixup: 1 }, { mixup: 1, cutmix: 1 }]) {
      for (const mixed of draws(50, { ...options, mode: 'pair' }, 8)) {
        const [a, b, c, d, e, f] = mixed;
        for (const [one, other] of [
          [a, f],
          [b, e],
          [c, d],
        ]) {
          assert.equal(one.isBox, other.isBox);
          assert.ok(Math.abs(one.kept - other.kept) < 1e-6);
        }
        assert.ok(Math.abs(a.kept - b.kept) > 1e-6 || options.cutmix === 1);
      }
      const single = draws(50, { ...options, mode: 'elem', smoothing: 0 }, 9);
      assert.ok(single.some(([a, , , , , f]) => Math.abs(a.kept - f.kept) > 0.1));
    }
  });

  it('smooths targets also where nothing is mixed, and adds up equal labels', () => {
    const batch = { ...batchOf(2), labels: Int32Array.of(3, 3) };
    for (const probability of [0, 1]) {
      const { targets } = mixBatch(batch, { classes: 4, mixup: 1, probability, smoothing: 0.2 }, new Generator(10));
      assert.ok(targets !== null);
      [0.05, 0.05, 0.05, 0.85].forEach((wanted, i) => {
        assert.ok(Math.abs(targets[i] - wanted) < 1e-6 && Math.abs(targets[4 + i] - wanted) < 1e-6, `${targets}`);
      });
    }
  });

  it('refuses what cannot be mixed', () => {
    const mixup = { classes: CLASSES, mixup: 1 };
    const wrong: [number, MixOptions, RegExp][] = [
      [3, mixup, /even batch size, not 3/],
      [14, mixup, /label 12, but there are 12 classes/],
      [2, { classes: CLASSES }, /alpha above 0/],
      [2, { classes: 0, mixup: 1 }, /number of classes must be a whole number above 0, not 0/],
      [2, { ...mixup, mixup: -1 }, /mixup alpha/],
      [2, { ...mixup, cutmix: Number.NaN }, /CutMix alpha/],
      [2, { ...mixup, probability: 2 }, /mixup probability must be from 0 to 1, not 2/],
      [2, { ...mixup, smoothing: -0.1 }, /label smoothing/],
      [2, { ...mixup, mode: 'half' as 'elem' }, /mixup mode must be batch, pair or elem, not "half"/],
      [2, { ...mixup, cutmixRange: [0.8, 0.2] }, /CutMix range/],
    ];
    for (const [size, options, says] of wrong) {
      assert.throws(
        () => mixBatch(batchOf(size), options, new Generator(0)),
        (error) => error instanceof InputError && says.test(error.message),
        String(says),
      );
    }
  });
});

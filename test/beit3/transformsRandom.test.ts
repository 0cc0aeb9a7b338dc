import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { autoAugment } from '../../beit3/data/transforms/autoAugment.js';
import { colorJitter } from '../../beit3/data/transforms/colorJitter.js';
import { randomPaddedCrop, randomPart } from '../../beit3/data/transforms/crop.js';
import { randomErase } from '../../beit3/data/transforms/erase.js';
import { type AutoAugment, type EraseOptions, parseAutoAugment } from '../../beit3/data/transforms/index.js';
import { randAugment } from '../../beit3/data/transforms/randAugment.js';
import type { ResizeFilter, RgbImage } from '../../beit3/images/index.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import { assertEven, assertFrequencies, assertOften, change, dull, FILL, key, moments } from './transformsPictures.js';

describe('random operations', () => {
  it('randAugment draws each of ten, does half of them and moves to both sides', () => {
    const random = new Generator(1);
    const outcomes: [number, RgbImage][] = [
      [0.55, dull],
      [0.05, change('AutoContrast')],
      [0.05, change('Equalize')],
      [0.05, change('Brightness', [0.7 * 1.8 + 0.1])],
      [0.05, change('Sharpness', [0.7 * 1.8 + 0.1])],
    ];
    const moves = { ShearX: 0.3, ShearY: 0.3, TranslateX: 10, TranslateY: 10, Rotate: 30 };
    for (const [name, most] of Object.entries(moves)) {
      for (const sign of [-1, 1]) outcomes.push([0.025, change(name, [0.7 * most * sign])]);
    }
    assertFrequencies(() => randAugment(dull, { layers: 1, magnitude: 7 }, random), 4000, outcomes);

    let same = 0;
    for (let i = 0; i < 2000; i++) {
      if (key(randAugment(dull, { layers: 2, magnitude: 7 }, random).data) === key(dull.data)) same++;
    }
    assertOften(same, 2000, 0.55 ** 2);
  });

  /** The outcomes of one layer of timm's RandAugment, given those of its operations that have a direction. */
  const outcomesOf = (
    bits: number,
    threshold: number,
    factors: number[],
    filters: ResizeFilter[],
  ): [number, RgbImage][] => {
    const each = 0.5 / 15;
    const outcomes: [number, RgbImage][] = [
      [0.5, dull],
      [each, change('autoContrast')],
      [each, change('equalize')],
      [each, change('invert')],
      [each, change('posterize', [bits])],
      [each, change('solarize', [threshold])],
      [each, change('solarizeAdd', [99])],
    ];
    for (const name of ['color', 'contrast', 'brightness', 'sharpness']) {
      for (const factor of factors) outcomes.push([each / factors.length, change(name, [factor])]);
    }
    const moves = {
      shearX: 0.3,
      shearY: 0.3,
      shiftX: 0.45 * dull.width,
      shiftY: 0.45 * dull.height,
      rotate: 30,
    };
    for (const [name, most] of Object.entries(moves)) {
      for (const sign of [-1, 1]) {
        for (const filter of filters) {
          outcomes.push([each / 2 / filters.length, change(name, [0.9 * most * sign], filter)]);
        }
      }
    }
    return outcomes;
  };

  it('autoAugment draws each of fifteen, at the strength that the policy says', () => {
    const random = new Generator(2);
    const plain = { ...parseAutoAugment('rand-m9-n1'), fill: FILL };
    assertFrequencies(
      () => autoAugment(dull, { ...plain, interpolation: 'bicubic' }, random),
      4000,
      outcomesOf(3, 230, [0.9 * 1.8 + 0.1], ['bicubic']),
    );
    assertFrequencies(
      () => autoAugment(dull, { ...plain, increasing: true, interpolation: 'random' }, random),
      6000,
      outcomesOf(1, 26, [1 + 0.9 * 0.9, 1 - 0.9 * 0.9], ['bilinear', 'bicubic']),
    );
  });

  it('autoAugment varies its strength by mstd and keeps it from 0 to 10', () => {
    const random = new Generator(3);
    const image: RgbImage = { width: 1, height: 1, data: Uint8Array.of(100, 50, 200) };
    /** Of all operations only SolarizeAdd raises what is below 128 and leaves the rest. */
    const strengths = (policy: string): number[] => {
      const options = { ...parseAutoAugment(policy), interpolation: 'bicubic', fill: FILL } as const;
      const out: number[] = [];
      for (let i = 0; i < 15_000; i++) {
        const [red, green, blue] = autoAugment(image, options, random).data;
        if (blue === 200 && red > 100 && red - 100 === green - 50) out.push((red - 100 + 0.5) / 11);
      }
      return out;
    };
    const spread = strengths('rand-m5-n1-p1-mstd0.5');
    assertOften(spread.length, 15_000, 1 / 15);
    const [mean, variance] = moments(spread);
    assert.ok(Math.abs(mean - 5) < (5 * 0.5) / Math.sqrt(spread.length), `mean ${mean}`);
    assert.ok(Math.abs(Math.sqrt(variance) - 0.5) < 0.05, `deviation ${Math.sqrt(variance)}`);
    assert.ok(strengths('rand-m9-n1-p1-mstd3').every((level) => level <= 10 + 0.5 / 11));
  });

  it('reads the policies of timm and refuses others in a sentence', () => {
    const wanted: AutoAugment = { magnitude: 9, deviation: 0.5, layers: 2, probability: 0.5, increasing: true };
    assert.deepEqual(parseAutoAugment('rand-m9-mstd0.5-inc1'), wanted);
    const other = { magnitude: 10, deviation: 0, layers: 3, probability: 0.7, increasing: false };
    assert.deepEqual(parseAutoAugment('rand-n3-p0.7-inc0'), other);
    for (const policy of [
      'v0',
      'augmix-m3',
      'rand-m11',
      'rand-w0',
      'rand-m9-m8',
      'rand-m',
      'rand-',
      'rand-mstd-1',
      '',
    ]) {
      assert.throws(
        () => parseAutoAugment(policy),
        (error) =>
          error instanceof InputError && /^[^\n]+[.]$/.test(error.message) && error.message.includes(`"${policy}"`),
        policy,
      );
    }
  });

  it('colour jitter changes brightness, contrast and saturation within its strength', () => {
    const random = new Generator(4);
    /** Mean and variance of 4000 draws, and their bounds. */
    const jitter = (pixels: number[], measure: (data: Uint8Array) => number) => {
      const image: RgbImage = { width: pixels.length / 3, height: 1, data: Uint8Array.from(pixels) };
      const values = Array.from({ length: 4000 }, () => measure(colorJitter(image, 0.4, random).data));
      return [...moments(values), Math.min(...values), Math.max(...values)];
    };
    const assertNear = (got: number[], wanted: number[]): void =>
      wanted.forEach((value, i) => {
        assert.ok(Math.abs(got[i] - value) < [0.02, 0.006, 0.05, 0.05][i], `${got}, not ${wanted}`);
      });
    const variance = 0.8 ** 2 / 12;
    // One grey pixel has neither contrast nor saturation; of two, contrast does not depend on brightness.
    assertNear(
      jitter([100, 100, 100], ([red]) => red / 100),
      [1, variance, 0.6, 1.4],
    );
    const two = [60, 60, 60, 140, 140, 140];
    assertNear(
      jitter(two, (data) => (data[3] - data[0]) / (data[3] + data[0]) / 0.4),
      [1, variance, 0.6, 1.4],
    );
    // Contrast and saturation do the same to one coloured pixel.
    const colored = jitter([110, 90, 100], ([red, green, blue]) => ((red - green) / (red + green + blue)) * 15);
    assertNear(colored.slice(0, 2), [1, (1 + variance) ** 2 - 1]);
    assert.equal(key(colorJitter(dull, 0, random).data), key(dull.data));
  });
});

describe('random parts', () => {
  it('have even areas, ratios and places', () => {
    const random = new Generator(5);
    const image: RgbImage = { width: 1200, height: 1000, data: new Uint8Array(0) };
    const parts = Array.from({ length: 4000 }, () => randomPart(image, [0.1, 0.4], [3 / 4, 4 / 3], random));
    assertEven(
      parts.map(({ width, height }) => (width * height) / 1.2e6),
      0.1,
      0.4,
      0.01,
    );
    assertEven(
      parts.map(({ width, height }) => Math.log(width / height)),
      Math.log(3 / 4),
      Math.log(4 / 3),
      0.01,
    );
    assertEven(
      parts.map(({ left, width }) => left / (1200 - width)),
      0,
      1,
      0,
    );
    assertEven(
      parts.map(({ top, height }) => top / (1000 - height)),
      0,
      1,
      0,
    );
  });

  it('lie inside, whatever the picture', () => {
    const random = new Generator(6);
    for (const [width, height] of [
      [1, 1],
      [1, 500],
      [500, 1],
      [2, 3],
      [90, 30],
      [640, 480],
    ]) {
      for (let i = 0; i < 200; i++) {
        const part = randomPart({ width, height, data: new Uint8Array(0) }, [0.08, 1], [3 / 4, 4 / 3], random);
        assert.ok(part.left >= 0 && part.top >= 0 && part.width >= 1 && part.height >= 1, JSON.stringify(part));
        assert.ok(part.left + part.width <= width && part.top + part.height <= height, JSON.stringify(part));
      }
    }
  });

  it('are the middle where no ratio fits', () => {
    const random = new Generator(7);
    const partOf = (width: number, height: number) =>
      randomPart({ width, height, data: new Uint8Array(0) }, [0.9, 1], [3 / 4, 4 / 3], random);
    assert.deepEqual(partOf(1000, 90), { left: 440, top: 0, width: 120, height: 90 });
    assert.deepEqual(partOf(90, 1001), { left: 0, top: 440, width: 90, height: 120 });
  });

  it('of small pictures come with a black border', () => {
    const random = new Generator(8);
    const image: RgbImage = { width: 6, height: 5, data: Uint8Array.from({ length: 90 }, (_, i) => 1 + i) };
    const seen = new Map<string, number>();
    for (let i = 0; i < 4000; i++) {
      const part = randomPaddedCrop(image, 4, 2, random);
      seen.set(key(part.data), (seen.get(key(part.data)) ?? 0) + 1);
    }
    // 7 x 6 places, all different and equally likely.
    assert.equal(seen.size, 42);
    for (const count of seen.values()) assertOften(count, 4000, 1 / 42);
    const corner = new Uint8Array(48);
    corner.set(image.data.subarray(0, 6), 30);
    corner.set(image.data.subarray(18, 24), 42);
    assert.ok(seen.has(key(corner)));
    assert.throws(() => randomPaddedCrop(image, 11, 2, random), /6 x 5 is too small/);
  });
});

describe('random erasing', () => {
  const SIZE = 60;
  const PLAIN = 9;
  const erased = (options: EraseOptions, random: Generator): Float32Array => {
    const values = new Float32Array(3 * SIZE * SIZE).fill(PLAIN);
    randomErase(values, SIZE, options, random);
    return values;
  };

  it('takes a rectangle of 2 % to a third of the picture, with its probability', () => {
    const random = new Generator(9);
    const areas: number[] = [];
    const aspects: number[] = [];
    for (let i = 0; i < 1000; i++) {
      const values = erased({ probability: 0.25, mode: 'const', count: 1 }, random);
      const at = [...values.keys()].filter((index) => values[index] === 0);
      if (at.length === 0) continue;
      assert.ok(values.every((value) => value === 0 || value === PLAIN));
      const columns = new Set(at.map((index) => index % SIZE)).size;
      const rows = new Set(at.map((index) => Math.floor(index / SIZE) % SIZE)).size;
      assert.equal(at.length, 3 * columns * rows);
      // Whole numbers of pixels.
      assert.ok(rows / columns > 0.28 && rows / columns < 3.6, `${rows} x ${columns}`);
      areas.push((rows * columns) / SIZE ** 2);
      aspects.push(Math.log(rows / columns));
    }
    assertOften(areas.length, 1000, 0.25);
    // Large and thin ones that do not fit are drawn again: few, so the areas stay about even.
    assertEven(areas, 0.02, 1 / 3, 0.04);
    assertEven(aspects, Math.log(0.3), -Math.log(0.3), 0.04);
  });

  it('fills with normal noise, one normal colour or the mean', () => {
    const random = new Generator(10);
    const noise = erased({ probability: 1, mode: 'pixel', count: 1 }, random).filter((value) => value !== PLAIN);
    const [mean, variance] = moments([...noise]);
    assert.ok(Math.abs(mean) < 0.2 && Math.abs(variance - 1) < 0.3, `${mean}, ${variance}`);
    const colored = erased({ probability: 1, mode: 'rand', count: 1 }, random);
    const colors = [0, 1, 2].map((channel) => {
      const values = new Set(colored.subarray(channel * SIZE ** 2, (channel + 1) * SIZE ** 2));
      assert.ok(values.delete(PLAIN));
      assert.equal(values.size, 1);
      return [...values][0];
    });
    assert.equal(new Set(colors).size, 3);
  });

  it('takes up to `count` rectangles, which share the area', () => {
    const random = new Generator(11);
    const counts = new Set<number>();
    for (let i = 0; i < 200; i++) {
      const values = erased({ probability: 1, mode: 'rand', count: 3 }, random).subarray(0, SIZE ** 2);
      counts.add(new Set(values).size - 1);
      assert.ok(values.filter((value) => value !== PLAIN).length < 0.36 * SIZE ** 2);
    }
    assert.deepEqual([...counts].sort(), [1, 2, 3]);
  });
});

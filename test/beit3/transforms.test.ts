import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mirror } from '../../beit3/data/transforms/crop.js';
import {
  buildTransform,
  evaluation,
  imageNetTraining,
  type TransformSpec,
  visionLanguageTraining,
} from '../../beit3/data/transforms/index.js';
import { preprocessImage, type RgbImage, resizeImage } from '../../beit3/images/index.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import { assertFrequencies, CASES, key, OPERATIONS, picture } from './transformsPictures.js';

const TRAININGS: TransformSpec[] = [
  visionLanguageTraining({ size: 40 }),
  visionLanguageTraining({ size: 40, randAugment: true, interpolation: 'random' }),
  imageNetTraining({ size: 40 }),
  imageNetTraining({ size: 40, interpolation: 'random', erase: { probability: 1, mode: 'rand', count: 3 } }),
  imageNetTraining({ size: 40, autoAugment: null, interpolation: 'bilinear' }),
  imageNetTraining({ size: 16 }),
];

/** Pixels back out of what a transform of the pipeline `vl` gives. */
function pixelsOf(values: Float32Array): Uint8Array {
  const size = values.length / 3;
  return Uint8Array.from(values, (_, i) => Math.round((values[(i % 3) * size + Math.floor(i / 3)] * 0.5 + 0.5) * 255));
}

describe('operations on pictures', () => {
  it('give the bytes of Pillow and of the official randaug.py', () => {
    const seen = new Set<string>();
    for (const { picture: name, name: operation, args, result } of CASES) {
      const numbers = args.filter((arg) => typeof arg === 'number');
      const filter = args.at(-1) === 'bilinear' ? 'bilinear' : 'bicubic';
      const image = picture(name);
      const before = key(image.data);
      const got = OPERATIONS[operation](image, numbers, filter);
      const what = `${operation}(${args}) of ${name}`;
      assert.deepEqual([got.width, got.height], [result.width, result.height], what);
      const wrong = got.data.findIndex((byte, i) => byte !== result.data[i]);
      assert.equal(wrong, -1, `${what}: byte ${wrong} is ${got.data[wrong]}, not ${result.data[wrong]}`);
      assert.equal(key(image.data), before, `${what} changed its input`);
      seen.add(operation);
    }
    assert.deepEqual([...seen].sort(), Object.keys(OPERATIONS).sort());
  });
});

describe('whole transforms', () => {
  const image = resizeImage(picture('hard'), 120, 90, 'bicubic');

  it('give the same for the same seed, in any copy of the description', () => {
    for (const spec of TRAININGS) {
      const transform = buildTransform(spec);
      const copy = buildTransform(JSON.parse(JSON.stringify(spec)));
      const [first, second] = [new Generator(12), new Generator(12)];
      const seen = new Set<string>();
      for (let i = 0; i < 8; i++) {
        const values = transform(image, first);
        assert.equal(values.length, 3 * spec.size ** 2);
        assert.ok(values.every(Number.isFinite));
        assert.deepEqual(values, copy(image, second));
        assert.deepEqual(first.state(), second.state());
        seen.add(values.join());
      }
      assert.equal(seen.size, 8, JSON.stringify(spec));
    }
  });

  it('are those of the reference', () => {
    const names = ({ steps }: TransformSpec) => steps.map(({ name }) => name);
    const spec = visionLanguageTraining({ size: 224, randAugment: true });
    assert.deepEqual(spec, {
      size: 224,
      pipeline: 'vl',
      steps: [
        { name: 'randomResizedCrop', scale: [0.5, 1], ratio: [3 / 4, 4 / 3], interpolation: 'bicubic' },
        { name: 'randomMirror', probability: 0.5 },
        { name: 'randAugment', layers: 2, magnitude: 7 },
      ],
      erase: null,
    });
    assert.deepEqual(names(visionLanguageTraining({ size: 224 })), ['randomResizedCrop', 'randomMirror']);
    assert.deepEqual(names(imageNetTraining({ size: 224 })), ['randomResizedCrop', 'randomMirror', 'autoAugment']);
    for (const none of [null, '', 'none']) {
      const jittered = imageNetTraining({ size: 224, autoAugment: none });
      assert.deepEqual(names(jittered), ['randomResizedCrop', 'randomMirror', 'colorJitter']);
    }
    assert.deepEqual(names(imageNetTraining({ size: 32 })), ['randomPaddedCrop', 'randomMirror', 'autoAugment']);
    assert.deepEqual(imageNetTraining({ size: 224 }).erase, { probability: 0.25, mode: 'pixel', count: 1 });
  });

  it('crop, mirror, normalise: one of a few pictures where the crop leaves no choice', () => {
    const whole: TransformSpec = {
      size: 20,
      pipeline: 'vl',
      steps: [
        { name: 'randomResizedCrop', scale: [1, 1], ratio: [4 / 3, 4 / 3], interpolation: 'random' },
        { name: 'randomMirror', probability: 0.25 },
      ],
      erase: null,
    };
    const transform = buildTransform(whole);
    const random = new Generator(13);
    const outcomes = (['bilinear', 'bicubic'] as const).flatMap((filter): [number, RgbImage][] => {
      const resized = resizeImage(image, 20, 20, filter);
      return [
        [0.375, resized],
        [0.125, mirror(resized)],
      ];
    });
    assertFrequencies(() => ({ width: 20, height: 20, data: pixelsOf(transform(image, random)) }), 400, outcomes);
  });

  it('evaluate as the pipelines of preprocessing do', () => {
    const random = new Generator(14);
    assert.deepEqual(buildTransform(evaluation('vl', 48))(image, random), preprocessImage(image, 'vl', { size: 48 }));
    for (const cropRatio of [1, 0.875]) {
      assert.deepEqual(
        buildTransform(evaluation('imagenet', 48, cropRatio))(image, random),
        preprocessImage(image, 'imagenet', { size: 48, cropRatio }),
      );
    }
    assert.deepEqual(random.state(), { seed: 14, counter: 0 });
  });

  it('erase what is normalised', () => {
    const spec: TransformSpec = { ...evaluation('vl', 48), erase: { probability: 1, mode: 'const', count: 1 } };
    const white: RgbImage = { width: 9, height: 9, data: new Uint8Array(243).fill(255) };
    const values = buildTransform(spec)(white, new Generator(15));
    assert.deepEqual(new Set(values), new Set([1, 0]));
  });

  it('refuse descriptions that are wrong', () => {
    const spec = imageNetTraining({ size: 40 });
    const [cropping, mirroring, augmenting] = spec.steps;
    const wrong: [unknown, RegExp][] = [
      [null, /must be an object/],
      [{ ...spec, size: 0 }, /0 for size/],
      [{ ...spec, pipeline: 'other' }, /"other" for pipeline/],
      [{ ...spec, steps: {} }, /for steps/],
      [{ ...spec, extra: 1 }, /no setting "extra"/],
      [{ ...spec, steps: [{ name: 'cutout' }] }, /no transform "cutout"; there are fit/],
      [{ ...spec, steps: [{ name: 'toString' }] }, /no transform "toString"/],
      [{ ...spec, steps: [null] }, /no transform/],
      [{ ...spec, steps: [{ ...cropping, scale: [0.5, 1.5] }] }, /for scale/],
      [{ ...spec, steps: [{ ...cropping, ratio: [2, 1] }] }, /for ratio/],
      [{ ...spec, steps: [{ ...cropping, interpolation: 'nearest' }] }, /"nearest" for interpolation/],
      [{ ...spec, steps: [{ ...mirroring, probability: Number.NaN }] }, /for probability/],
      [{ ...spec, steps: [{ ...augmenting, layers: 1.5 }] }, /1.5 for layers/],
      [{ ...spec, erase: { probability: 1, mode: 'paint', count: 1 } }, /"paint" for mode/],
    ];
    for (const [given, says] of wrong) {
      assert.throws(
        () => buildTransform(given as TransformSpec),
        (error) => error instanceof InputError && says.test(error.message),
        JSON.stringify(given),
      );
    }
    const uncropped = buildTransform({ ...spec, steps: [mirroring] });
    assert.throws(() => uncropped(image, new Generator(0)), /120 x 90 instead of 40 x 40/);
  });
});

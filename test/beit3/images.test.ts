import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import {
  decodeImage,
  fitImage,
  type ImagePipeline,
  preprocessImage,
  preprocessImages,
  type RgbImage,
  resizeBicubic,
} from '../../beit3/images/index.js';
import { InputError } from '../../core/errors.js';

const fixtures = new URL('../../../test/fixtures/', import.meta.url);
const digests: {
  files: Record<string, string>;
  resize: { from: [number, number]; to: [number, number]; sha256: string }[];
  imagenet: { from: [number, number]; size: number; cropRatio: number; sha256: string }[];
} = JSON.parse(readFileSync(new URL('image_digests.json', fixtures), 'utf8'));

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The tensors of a safetensors file of bytes. */
function byteTensors(name: string): Map<string, Uint8Array> {
  const bytes = readFileSync(new URL(name, fixtures));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header: Record<string, { dtype: string; data_offsets?: [number, number] }> = JSON.parse(
    bytes.toString('utf8', 8, 8 + headerLength),
  );
  const tensors = new Map<string, Uint8Array>();
  for (const [key, { dtype, data_offsets }] of Object.entries(header)) {
    if (data_offsets === undefined) continue;
    assert.equal(dtype, 'U8');
    tensors.set(key, bytes.subarray(8 + headerLength + data_offsets[0], 8 + headerLength + data_offsets[1]));
  }
  return tensors;
}

/** Pseudo-random bytes that the fixtures were made from too; only black and white where `hard`. */
function pattern(width: number, height: number, hard = false): RgbImage {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const value = Math.imul(i, 2654435761) >>> 24;
    return hard ? (value > 127 ? 255 : 0) : value;
  });
  return { width, height, data };
}

const FILES = ['astronaut.png', 'cat.png', 'coffee.png', 'gray.png', 'rocket.jpg'];
const PIPELINES: ImagePipeline[] = ['vl', 'imagenet'];

describe('image preprocessing against the official pipelines', () => {
  it('gives the reference bytes for photographs', async () => {
    const tensors = byteTensors('image_preprocessing.safetensors');
    let compared = 0;
    for (const file of FILES) {
      const image = await decodeImage(fileURLToPath(new URL(`images/${file}`, fixtures)));
      for (const pipeline of PIPELINES) {
        const key = `${file.split('.')[0]}/${pipeline}_224_uint8`;
        const { data } = fitImage(image, pipeline, { size: 224 });
        const wanted = tensors.get(key);
        if (wanted === undefined) {
          // PNG has one right decoding: every byte is equal.
          assert.equal(sha256(data), digests.files[key], key);
        } else {
          assert.equal(data.length, wanted.length);
          const off = data.map((byte, i) => Math.abs(byte - wanted[i]));
          assert.ok(
            off.every((difference) => difference <= 1),
            key,
          );
          assert.ok(off.filter((difference) => difference === 0).length >= 0.99 * off.length, key);
        }
        compared++;
      }
    }
    assert.equal(compared, 10);
  });

  it('crops as torchvision does at odd sizes', () => {
    for (const { from, size, cropRatio, sha256: wanted } of digests.imagenet) {
      const { data, width, height } = fitImage(pattern(...from), 'imagenet', { size, cropRatio });
      assert.deepEqual([width, height], [size, size]);
      assert.equal(sha256(data), wanted, `${from} to ${size}`);
    }
  });

  it('normalises as torch does, channel by channel', () => {
    // Every byte once in every channel; digests of torch's [0..255] / 255 - mean, over deviation.
    const data = Uint8Array.from({ length: 256 * 3 }, (_, i) => Math.floor(i / 3));
    const image = { width: 16, height: 16, data };
    const half = 'd15e8ce72284446496a6de66e8a4795818530b44cd2c3dd415077364535c3c1a';
    const wanted: Record<ImagePipeline, string[]> = {
      vl: [half, half, half],
      imagenet: [
        '22f8908fe40645f7997105d51a85608a7991163080d223e4f934b0dc57cade85',
        'a20b9938a20ecdc4774946cd7905c7b5dc250a7b0dd0ae67f24e64b393eacfb9',
        '69aeeaba0ee3cc79f8d1cad456a61fd8a0792e2d6544becaa4d53294a5a1f66f',
      ],
    };
    for (const pipeline of PIPELINES) {
      const values = preprocessImage(image, pipeline, { size: 16 });
      for (let c = 0; c < 3; c++) {
        const channel = values.slice(c * 256, (c + 1) * 256);
        assert.equal(sha256(new Uint8Array(channel.buffer)), wanted[pipeline][c]);
      }
    }
  });

  it('puts several pictures behind each other', () => {
    const [a, b] = [pattern(20, 30), pattern(31, 9)];
    const both = preprocessImages([a, b], 'imagenet', { size: 8 });
    const each = [a, b].flatMap((image) => [...preprocessImage(image, 'imagenet', { size: 8 })]);
    assert.deepEqual([...both], each);
  });

  it('refuses sizes and ratios that are none', () => {
    const image = pattern(4, 4);
    for (const size of [0, -1, 2.5, Number.NaN]) {
      assert.throws(() => preprocessImage(image, 'vl', { size }), InputError);
      assert.throws(() => fitImage(image, 'vl', { size }), InputError);
    }
    for (const cropRatio of [0, -1, 1.1, Number.NaN]) {
      assert.throws(() => fitImage(image, 'imagenet', { size: 4, cropRatio }), InputError);
    }
  });
});

describe('bicubic resize', () => {
  it('gives the bytes of Pillow, larger, smaller, hard edges and thin pictures', () => {
    for (const { from, to, sha256: wanted } of digests.resize) {
      const resized = resizeBicubic(pattern(...from, from[0] % 2 === 1), ...to);
      assert.equal(sha256(resized.data), wanted, `${from} to ${to}`);
    }
  });

  it('gives the same for a part as for the whole', () => {
    const side = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(
        side,
        fc.integer({ min: 1, max: 250 }),
        side,
        side,
        fc.nat(),
        fc.nat(),
        (w, h, width, height, m, n) => {
          const image = pattern(w, h);
          const [left, top] = [m % width, n % height];
          const part = { left, top, width: 1 + (n % (width - left)), height: 1 + (m % (height - top)) };
          const whole = resizeBicubic(image, width, height);
          const cut = resizeBicubic(image, width, height, part);
          assert.deepEqual([cut.width, cut.height], [part.width, part.height]);
          for (let y = 0; y < part.height; y++) {
            const from = ((y + top) * width + left) * 3;
            assert.deepEqual(
              cut.data.subarray(y * part.width * 3, (y + 1) * part.width * 3),
              whole.data.subarray(from, from + part.width * 3),
            );
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('keeps a plain picture plain', () => {
    const plain = { width: 37, height: 23, data: new Uint8Array(37 * 23 * 3).fill(201) };
    for (const [width, height] of [
      [10, 50],
      [100, 7],
    ]) {
      assert.ok(resizeBicubic(plain, width, height).data.every((byte) => byte === 201));
    }
  });

  it('refuses what does not fit', () => {
    const image = pattern(4, 4);
    assert.throws(() => resizeBicubic(image, 0, 4), InputError);
    assert.throws(() => resizeBicubic(image, 4, 2.5), InputError);
    assert.throws(() => resizeBicubic(image, 4, 4, { left: 2, top: 0, width: 3, height: 4 }), InputError);
    assert.throws(() => resizeBicubic({ ...image, width: 5 }, 4, 4), InputError);
  });
});

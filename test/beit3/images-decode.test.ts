import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { decodeImage, listImageFiles, readImageHeader } from '../../beit3/images/index.js';
import { withoutExif } from '../../beit3/images/withoutExif.js';
import { InputError } from '../../core/errors.js';

const fixtures = new URL('../../../test/fixtures/', import.meta.url);
const stored: Record<string, { file: string; width: number; height: number; rgb: string }> = JSON.parse(
  readFileSync(new URL('image_formats.json', fixtures), 'utf8'),
);
/** Files in memory, and the pixels that Pillow's convert('RGB') makes of each. */
const samples = Object.entries(stored).map(([name, { file, rgb, ...size }]) => ({
  name,
  file: new Uint8Array(Buffer.from(file, 'base64')),
  rgb: new Uint8Array(inflateSync(Buffer.from(rgb, 'base64'))),
  ...size,
}));

function sample(name: string): Uint8Array {
  const found = samples.find((each) => each.name === name);
  assert.ok(found !== undefined, name);
  return found.file.slice();
}

const folder = mkdtempSync(join(tmpdir(), 'images-'));
after(() => rmSync(folder, { recursive: true }));

function put(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

async function refuses(source: string | Uint8Array, says: RegExp): Promise<void> {
  await assert.rejects(decodeImage(source), (error) => {
    assert.ok(error instanceof InputError, String(error));
    assert.match(error.message, says);
    assert.ok(!error.message.includes('\n'));
    if (typeof source === 'string') assert.ok(error.message.includes(source));
    return true;
  });
}

describe('decoding images', () => {
  it('gives what Pillow gives, for every kind of file and pixel', async () => {
    for (const { name, file, rgb, width, height } of samples) {
      const image = await decodeImage(file);
      assert.deepEqual([image.width, image.height], [width, height], name);
      assert.equal(image.data.length, rgb.length, name);
      // The decoders of lossy files may round differently.
      const slack = /\.(jpg|avif)$|lossy/.test(name) ? 1 : 0;
      const worst = image.data.reduce((most, byte, i) => Math.max(most, Math.abs(byte - rgb[i])), 0);
      assert.ok(worst <= slack, `${name}: off by ${worst}`);
    }
    assert.ok(samples.length >= 35);
  });

  it('puts white behind transparent pixels when asked to', async () => {
    const { default: sharp } = await import('sharp');
    const pixels = Uint8Array.from([255, 0, 0, 128, 0, 0, 0, 0, 7, 8, 9, 255]);
    const file = new Uint8Array(
      await sharp(pixels, { raw: { width: 3, height: 1, channels: 4 } })
        .png()
        .toBuffer(),
    );
    assert.deepEqual([...(await decodeImage(file)).data], [255, 0, 0, 0, 0, 0, 7, 8, 9]);
    const { data } = await decodeImage(file, { background: 'white' });
    assert.ok(Math.abs(data[1] - 127) <= 1 && data[1] === data[2], String(data));
    assert.deepEqual([data[0], ...data.subarray(3)], [255, 255, 255, 255, 7, 8, 9]);
  });

  it('takes a path, a file URL, a data URL, a Blob and bytes', async () => {
    const url = new URL('images/rocket.jpg', fixtures);
    const bytes = new Uint8Array(readFileSync(url));
    const data = `data:image/jpeg;base64,${Buffer.from(bytes).toString('base64')}`;
    const images = [];
    for (const source of [fileURLToPath(url), url, data, new Blob([bytes]), bytes])
      images.push(await decodeImage(source));
    assert.deepEqual([images[0].width, images[0].height, images[0].data.length], [420, 280, 420 * 280 * 3]);
    for (const image of images) assert.deepEqual(image, images[0]);
  });

  it('reads the size from the header of every format', () => {
    for (const { name, file, width, height } of samples) {
      const header = readImageHeader(file);
      // The orientation of a TIFF is applied later.
      const wanted = name === 'turned.tif' ? [height, width] : [width, height];
      assert.deepEqual([header?.width, header?.height], wanted, name);
    }
  });
});

describe('bad images', () => {
  it('are named in one sentence: missing, empty, a folder, a text, an SVG', async () => {
    await refuses(join(folder, 'nowhere.png'), /There is no file/);
    await refuses(put('empty.png', ''), /is empty/);
    await refuses(folder, /is a folder/);
    await refuses(put('text.jpg', 'just a text\n'), /not an image of a known kind/);
    await refuses(put('drawing.svg', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), /known kind/);
  });

  it('are named when they are too large, before anything is decoded', async () => {
    const png = sample('rgb.png').subarray(0, 33);
    new DataView(png.buffer).setUint32(16, 30_000);
    new DataView(png.buffer).setUint32(20, 30_000);
    const before = process.memoryUsage().rss;
    await refuses(put('huge.png', png), /has 30000 x 30000 pixels, more than the 100 megapixels/);
    const gif = sample('palette.gif');
    new DataView(gif.buffer).setUint16(6, 65_535, true);
    new DataView(gif.buffer).setUint16(8, 65_535, true);
    await refuses(gif, /65535 x 65535/);
    const webp = sample('lossless.webp');
    new DataView(webp.buffer).setUint32(21, 0x0fffffff, true);
    await refuses(webp, /16384 x 16384/);
    const thin = sample('rgb.png');
    new DataView(thin.buffer).setUint32(16, 1_000_000);
    new DataView(thin.buffer).setUint32(20, 1);
    await refuses(thin, /1000000 x 1 pixels/);
    assert.ok(process.memoryUsage().rss - before < 200e6);
  });

  it('are named when they are cut off, unless all of the picture is still there', async () => {
    let refused = 0;
    for (const { name, file } of samples) {
      const whole = await decodeImage(file);
      for (const share of [0.1, 0.5, 0.8]) {
        const part = file.subarray(0, Math.floor(file.length * share));
        // Some files go on behind the pixels: with a second frame, with notes.
        const kept = await decodeImage(part).catch(() => undefined);
        if (kept !== undefined) assert.deepEqual(kept, whole, name);
        else {
          await refuses(part, /damaged or incomplete|not an image/);
          refused++;
        }
      }
    }
    assert.ok(refused > 2.5 * samples.length, `${refused} refused`);
  });

  it('never crash or hang when damaged', async () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...samples), damage, async ({ file }, changes) => {
        const bytes = file.slice();
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        try {
          const { width, height, data } = await decodeImage(bytes);
          assert.equal(data.length, width * height * 3);
        } catch (error) {
          assert.ok(error instanceof InputError, String(error));
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe('EXIF, for browsers', () => {
  it('is taken out without touching the picture', async () => {
    for (const [name, format, kind] of [
      ['turned.jpg', 'JPEG', 'Exif'],
      ['turned.png', 'PNG', 'eXIf'],
      ['turned.webp', 'WebP', 'EXIF'],
    ] as const) {
      const file = sample(name);
      const out = withoutExif(file, format);
      assert.ok(Buffer.from(file).includes(kind) && !Buffer.from(out).includes(kind), name);
      assert.deepEqual(file, sample(name));
      assert.deepEqual(await decodeImage(out), await decodeImage(file));
    }
    const plain = sample('rgb.png');
    assert.equal(withoutExif(plain, 'PNG'), plain);
  });

  it('is looked for within bounds', () => {
    fc.assert(
      fc.property(fc.constantFrom('JPEG', 'PNG', 'WebP'), fc.uint8Array({ maxLength: 200 }), (format, bytes) => {
        assert.ok(withoutExif(bytes, format).length <= bytes.length);
      }),
    );
  });
});

describe('image files of a folder', () => {
  it('are listed in order, folders below included, other files and hidden ones not', async () => {
    const top = join(folder, 'album');
    mkdirSync(join(top, 'b', 'c'), { recursive: true });
    mkdirSync(join(top, '.hidden'));
    const touch = (path: string): void => writeFileSync(join(top, path), '');
    for (const path of [
      'z.JPG',
      'a.png',
      'note.txt',
      '.x.png',
      'b/1.webp',
      'b/c/2.jpeg',
      'b/c/3.TIFF',
      '.hidden/4.png',
    ]) {
      touch(path);
    }
    symlinkSync(top, join(top, 'b', 'loop'));
    const wanted = ['a.png', 'b/1.webp', 'b/c/2.jpeg', 'b/c/3.TIFF', 'z.JPG'].map((path) => join(top, path));
    assert.deepEqual(await listImageFiles(top), wanted);
    assert.deepEqual(await listImageFiles([join(top, 'note.txt'), join(top, 'b', 'c')]), [
      join(top, 'note.txt'),
      ...wanted.slice(2, 4),
    ]);
  });

  it('must be there', async () => {
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    await assert.rejects(listImageFiles(empty), (e) => e instanceof InputError && e.message.includes('has no images'));
    await assert.rejects(listImageFiles('/nowhere'), (e) => e instanceof InputError && e.message.includes('/nowhere'));
  });
});

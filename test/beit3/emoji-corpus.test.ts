import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EMOJI_STYLES, type EmojiCorpus, loadEmojiCorpus } from '../../beit3/emoji/corpus.js';
import { drawSvg, encodePng, iconToSvg, isBlank, loadSharp } from '../../beit3/emoji/draw.js';
import {
  codePointKey,
  type EmojibaseEmoji,
  type IconSet,
  joinIconSet,
  labelSlug,
  pictorialEmoji,
  resolveIcon,
} from '../../beit3/emoji/join.js';
import { readPackageJson } from '../../beit3/emoji/packages.js';
import { InputError } from '../../core/errors.js';

const emoji = (hexcode: string, label: string, group: number | undefined = 0): EmojibaseEmoji => ({
  hexcode,
  label,
  group,
  emoji: '',
});

describe('emoji join', () => {
  it('leaves component emoji out', () => {
    const regionalIndicator = { hexcode: '1F1E6', label: 'regional indicator A', emoji: '' };
    const all = [emoji('1F600', 'grinning face'), emoji('1F3FB', 'light skin tone', 2), regionalIndicator];
    assert.deepEqual(
      pictorialEmoji(all).map((e) => e.hexcode),
      ['1F600'],
    );
  });

  it('compares code points without fe0f and with joiners', () => {
    assert.equal(codePointKey('2764-FE0F-200D-1F525'), '2764-200d-1f525');
    assert.notEqual(codePointKey('1F468-200D-1F469'), codePointKey('1F468-1F469'));
  });

  it('writes slugs as the sets do', () => {
    assert.equal(labelSlug('Japanese “here” button'), 'japanese-here-button');
    assert.equal(labelSlug('keycap: 10'), 'keycap-10');
    assert.equal(labelSlug('UP! button'), 'up-button');
  });

  it('joins by code point first, then by slug, and knows aliases', () => {
    const body = '<path/>';
    const set: IconSet = {
      prefix: 'x',
      icons: { joy: { body }, 'red-heart': { body }, other: { body } },
      aliases: { bee: { parent: 'other' } },
    };
    const list = [
      emoji('1F602', 'face with tears of joy'),
      emoji('2764-FE0F', 'red heart'),
      emoji('1F41D', 'bee'),
      emoji('1F427', 'penguin'),
      emoji('1F999', 'constructor'),
    ];
    // The table names an icon that is not there for the bee: the slug is the next try.
    const joined = joinIconSet(list, set, { '1f602': 'joy', '2764': 'other', '1f41d': 'missing' });
    assert.deepEqual(
      joined.map((j) => [j.emoji.hexcode, j.icon]),
      [
        ['1F602', 'joy'],
        ['2764-FE0F', 'other'],
        ['1F41D', 'bee'],
      ],
    );
  });

  it('resolves aliases: sizes from the outermost, flips cancel, turns add up', () => {
    const set: IconSet = {
      prefix: 'x',
      width: 32,
      height: 24,
      icons: { a: { body: 'B', width: 40 } },
      aliases: {
        b: { parent: 'a', hFlip: true, rotate: 3 },
        c: { parent: 'b', hFlip: true, vFlip: true, rotate: 2, left: -4 },
        loop: { parent: 'loop' },
        lost: { parent: 'nowhere' },
      },
    };
    const plain = { body: 'B', left: 0, top: 0, width: 40, height: 24, rotate: 0, hFlip: false, vFlip: false };
    assert.deepEqual(resolveIcon(set, 'a'), plain);
    assert.deepEqual(resolveIcon(set, 'b'), { ...plain, rotate: 3, hFlip: true });
    assert.deepEqual(resolveIcon(set, 'c'), { ...plain, rotate: 1, vFlip: true, left: -4 });
    assert.equal(resolveIcon(set, 'loop'), undefined);
    assert.equal(resolveIcon(set, 'lost'), undefined);
  });

  it('finds 12,005 pairs in the nine sets', async () => {
    const data = pictorialEmoji(await readPackageJson<EmojibaseEmoji[]>('emojibase-data', 'en/data.json'));
    const counts: Record<string, number> = {};
    for (const style of EMOJI_STYLES) {
      const set = await readPackageJson<IconSet>(`@iconify-json/${style}`, 'icons.json');
      const chars = await readPackageJson<Record<string, string>>(`@iconify-json/${style}`, 'chars.json');
      const joined = joinIconSet(data, set, chars);
      assert.ok(joined.every((j) => resolveIcon(set, j.icon) !== undefined));
      counts[style] = joined.length;
    }
    assert.deepEqual(counts, {
      noto: 1653,
      'noto-v1': 1197,
      twemoji: 1914,
      openmoji: 1914,
      'fluent-emoji': 1543,
      'fluent-emoji-flat': 1595,
      emojione: 1058,
      'emojione-v1': 901,
      fxemoji: 230,
    });
  });

  it('says which package is missing', async () => {
    await assert.rejects(readPackageJson('@iconify-json/no-such-set', 'icons.json'), (error: Error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, /needs the package @iconify-json\/no-such-set.*npm install/);
      return true;
    });
  });
});

describe('emoji drawing', () => {
  /** A box of 4x2 at (10, 20) whose upper left 2x1 quarter is red. */
  const quarter = {
    body: '<rect x="10" y="20" width="2" height="1" fill="#f00"/>',
    left: 10,
    top: 20,
    width: 4,
    height: 2,
    rotate: 0,
    hFlip: false,
    vFlip: false,
  };

  /** The picture at 8x8 as rows of `R` and `.`. */
  async function draw(icon: typeof quarter): Promise<string[]> {
    const pixels = await drawSvg(await loadSharp(), iconToSvg(icon, 8), 8);
    const letter = (i: number) => {
      const colour = [...pixels.subarray(i * 3, i * 3 + 3)].join();
      assert.ok(colour === '255,0,0' || colour === '255,255,255', colour);
      return colour === '255,0,0' ? 'R' : '.';
    };
    return Array.from({ length: 8 }, (_, y) => Array.from({ length: 8 }, (_, x) => letter(y * 8 + x)).join(''));
  }
  const rows = (at: number, count: number, row: string) =>
    Array.from({ length: 8 }, (_, y) => (y >= at && y < at + count ? row : '........'));

  it('centres a box that is not square, on white', async () => {
    assert.deepEqual(await draw(quarter), rows(2, 2, 'RRRR....'));
  });

  it('flips and turns about the middle', async () => {
    assert.deepEqual(await draw({ ...quarter, hFlip: true }), rows(2, 2, '....RRRR'));
    assert.deepEqual(await draw({ ...quarter, vFlip: true }), rows(4, 2, 'RRRR....'));
    assert.deepEqual(await draw({ ...quarter, rotate: 1 }), rows(0, 4, '....RR..'));
    assert.deepEqual(await draw({ ...quarter, rotate: 2 }), rows(4, 2, '....RRRR'));
    assert.deepEqual(await draw({ ...quarter, rotate: 3 }), rows(4, 4, '..RR....'));
    assert.deepEqual(await draw({ ...quarter, rotate: 1, hFlip: true }), rows(4, 4, '....RR..'));
  });

  it('knows a blank picture from a faint one', async () => {
    const pixels = new Uint8Array(8 * 8 * 3).fill(255);
    assert.ok(isBlank(pixels));
    assert.ok(isBlank(await drawSvg(await loadSharp(), iconToSvg({ ...quarter, body: '' }, 8), 8)));
    pixels[100] = 250;
    assert.ok(!isBlank(pixels));
  });

  it('encodes PNG files that decode to the same bytes', async () => {
    const pixels = Uint8Array.from({ length: 4 * 3 * 3 }, (_, i) => i * 7);
    const sharp = await loadSharp();
    const plain = await sharp(Buffer.from(await encodePng(pixels, 4, 3)))
      .raw()
      .toBuffer();
    assert.deepEqual(new Uint8Array(plain), pixels);
    const { info } = await sharp(Buffer.from(await encodePng(pixels, 4, 3, 5)))
      .raw()
      .toBuffer({ resolveWithObject: true });
    assert.deepEqual([info.width, info.height], [20, 15]);
  });
});

describe('emoji corpus', () => {
  let directory: string;
  let corpus: EmojiCorpus;
  const progress: number[] = [];
  const load = (onProgress?: (done: number, total: number) => void) =>
    loadEmojiCorpus({ size: 16, styles: ['fxemoji', 'emojione-v1'], cacheDirectory: directory, onProgress });

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'azulejo-emoji-'));
    corpus = await load((done, total) => {
      assert.equal(total, 1131);
      progress.push(done);
    });
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('has every emoji of the styles asked for, in the order of the styles, none blank', () => {
    assert.deepEqual(corpus.styles, ['emojione-v1', 'fxemoji']);
    assert.equal(corpus.entries.length, 1131);
    assert.equal(corpus.pixels.length, 1131 * 16 * 16 * 3);
    assert.equal(corpus.ofStyle('fxemoji').length, 230);
    assert.ok(corpus.entries.every((e, i) => e.image === i && !isBlank(corpus.image(i))));
    assert.equal(progress.at(-1), 1131);
    assert.ok(progress.length > 10 && progress.every((done, i) => i === 0 || done > progress[i - 1]));
  });

  it('gives each image its text', () => {
    const apple = corpus.ofStyle('emojione-v1').find((e) => e.hexcode === '1F34E');
    assert.ok(apple);
    assert.equal(apple.label, 'red apple');
    assert.equal(apple.emoji, '🍎');
    assert.equal(apple.group, 'food & drink');
    assert.equal(apple.subgroup, 'fruit');
    assert.ok(apple.tags.includes('fruit'));
    // A red apple is red in the middle.
    const [r, g, b] = corpus.image(apple.image).subarray((8 * 16 + 6) * 3);
    assert.ok(r > 150 && g < 100 && b < 120, `${r},${g},${b}`);
    const shared = [...corpus.byEmoji().values()].filter((entries) => entries.length === 2);
    assert.ok(shared.length > 100 && shared.every(([a, b]) => a.style !== b.style && a.hexcode === b.hexcode));
  });

  it('comes from the cache the second time, without drawing', async () => {
    const again = await load(() => assert.fail('drew again'));
    assert.deepEqual(again.entries, corpus.entries);
    assert.deepEqual(new Uint8Array(again.pixels), corpus.pixels);
    const files = (await readdir(directory)).filter((name) => name.startsWith('emoji')).sort();
    assert.equal(files.length, 2);
    assert.match(files[0], /^emoji-16px-[0-9a-f]{16}\.json$/);
    assert.match(files[1], /^emoji-16px-[0-9a-f]{16}\.rgb$/);
  });

  it('draws again what is damaged in the cache', async () => {
    const folder = join(directory, 'small');
    let drawn = 0;
    const loadSmall = () =>
      loadEmojiCorpus({
        size: 8,
        styles: ['fxemoji'],
        cacheDirectory: folder,
        onProgress: (done) => {
          drawn = done;
        },
      });
    const whole = await loadSmall();
    const [json, rgb] = (await readdir(folder)).sort().map((name) => join(folder, name));
    const pixels = await readFile(rgb);
    pixels[12345] ^= 1;
    const entries = JSON.parse(await readFile(json, 'utf8'));
    entries.entries[7].label = 7;
    const damages = [
      () => writeFile(rgb, pixels),
      () => truncate(rgb, 1000),
      () => rm(rgb),
      () => truncate(json, 1000),
      () => writeFile(json, 'null'),
      () => writeFile(json, JSON.stringify(entries)),
    ];
    for (const [i, damage] of damages.entries()) {
      await damage();
      drawn = 0;
      const again = await loadSmall();
      assert.equal(drawn, 230, `damage ${i}`);
      assert.deepEqual(again.entries, whole.entries);
      assert.ok(Buffer.from(whole.pixels).equals(await readFile(rgb)));
    }
    assert.equal((await readdir(folder)).length, 2);
  });

  it('makes pages self-contained with data addresses', async () => {
    const address = await corpus.dataUri(3);
    assert.match(address, /^data:image\/png;base64,iVBOR/);
    const sharp = await loadSharp();
    const decoded = await sharp(Buffer.from(address.split(',')[1], 'base64'))
      .raw()
      .toBuffer();
    assert.deepEqual(new Uint8Array(decoded), new Uint8Array(corpus.image(3)));
  });

  it('says what is wrong with a request', async () => {
    await assert.rejects(loadEmojiCorpus({ size: 0 }), /size of the emoji must be/);
    await assert.rejects(loadEmojiCorpus({ styles: ['wingdings'] }), /unknown emoji style "wingdings": the styles are/);
    assert.throws(() => corpus.ofStyle('noto'), InputError);
    assert.throws(() => corpus.image(1131), InputError);
    const blocked = join(directory, 'file');
    await writeFile(blocked, '');
    await assert.rejects(loadEmojiCorpus({ size: 8, styles: ['fxemoji'], cacheDirectory: blocked }), InputError);
  });
});

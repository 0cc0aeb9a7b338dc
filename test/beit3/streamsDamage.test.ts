/** Streams over data that is broken, served badly or shared out: what is broken is counted and named, the rest is read. */
import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { countPairs, openPairs, openPictures, openTexts, type SampleStream } from '../../beit3/data/stream/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { InputError } from '../../core/errors.js';
import { type Member, tarOf } from './tars.js';
import { writePhoto, writeTinyTokenizer } from './tinyModels.js';

describe('streams of damaged training data', () => {
  let folder = '';
  let tokenizer: Tokenizer;
  let photo: Uint8Array;
  const at = (name: string): string => join(folder, name);
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azulejo-damage-'));
    tokenizer = await Tokenizer.load(await writeTinyTokenizer(at('tiny.spm')));
    photo = new Uint8Array(await readFile(await writePhoto(at('photo.png'), 200, 0, 0, 8, 8)));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const pair = (key: string, text: Uint8Array | string = 'a red panda'): Member[] => [
    { name: `${key}.png`, bytes: photo },
    { name: `${key}.txt`, bytes: text },
  ];
  const openOwn = (patterns: readonly string[], extra: object = {}) =>
    openPairs(patterns, { tokenizer, maxTokens: 16, buffer: 1, ...extra });

  /** The names of one epoch, in their order. */
  async function epochOf<S extends { where: string }>(stream: SampleStream<S>): Promise<string[]> {
    const names: string[] = [];
    for (;;) {
      const { where } = await stream.next();
      if (stream.epoch > 0) break;
      names.push(where.slice(where.lastIndexOf(': ') + 2));
    }
    await stream.close();
    return names;
  }

  async function skippedOf(open: (extra: object) => Promise<SampleStream<{ where: string }>>) {
    const skipped: string[] = [];
    const stream = await open({ onSkip: (reason: string) => skipped.push(reason) });
    const names = await epochOf(stream);
    return { names, skipped };
  }

  it('name each broken member, and read all others', async () => {
    const members: Member[] = [
      ...pair('first'),
      { name: 'notext.png', bytes: photo },
      { name: 'nopicture.txt', bytes: 'the dog' },
      { name: 'empty.png', bytes: '' },
      { name: 'empty.txt', bytes: 'the dog' },
      ...pair('latin', Uint8Array.of(0x61, 0xe9, 0x20, 0x62)),
      ...pair('blank', ' \n'),
      { name: 'badjson.png', bytes: photo },
      { name: 'badjson.json', bytes: '{"caption": ' },
      { name: 'nocaption.png', bytes: photo },
      { name: 'nocaption.json', bytes: '{"caption": 7}' },
      { name: 'json.png', bytes: photo },
      { name: 'json.json', bytes: '{"caption": "two cups"}' },
      ...pair('long', 'dog '.repeat(300_000)),
      { name: 'link.png', bytes: '', kind: '2' },
      ...pair('../../../etc/passwd'),
      ...pair('\x1b[2J'),
      ...pair('last'),
    ];
    await writeFile(at('broken.tar'), tarOf(members));
    const { names, skipped } = await skippedOf((extra) => openOwn([at('broken.tar')], extra));
    // Nothing is ever written where a name says, so that any name will do.
    assert.deepEqual(names, ['first.png', 'json.png', '../../../etc/passwd.png', '\x1b[2J.png', 'last.png']);
    const reasons = skipped.slice(0, 8).map((reason) => reason.slice(reason.indexOf('broken.tar')));
    assert.deepEqual(reasons, [
      'broken.tar: notext.png: there is no text of this name.',
      'broken.tar: nopicture: there is no picture of this name.',
      'broken.tar: empty.png: the picture is empty or of no known kind.',
      'broken.tar: latin.png: the text beside it is not UTF-8.',
      'broken.tar: blank.png: there is no text of this name.',
      'broken.tar: badjson.png: the .json beside it is not valid.',
      'broken.tar: nocaption.png: there is no text of this name.',
      'broken.tar: long.png: the text has 1200000 bytes, more than the 1048576 that are read.',
    ]);
  });

  it('pass over a picture that is too large without holding it', async () => {
    const MOST = 128 << 20;
    const archive = tarOf([...pair('before'), { name: 'huge.png', bytes: '' }, ...pair('behind')]);
    const header = archive.indexOf('huge.png');
    const size = Buffer.from(archive.subarray(0, header + 512));
    size.write(`${(MOST + 1024).toString(8).padStart(11, '0')}\0`, header + 124);
    size.write('        ', header + 148);
    const sum = size.subarray(header).reduce((a, b) => a + b, 0);
    size.write(`${sum.toString(8).padStart(6, '0')}\0 `, header + 148);
    const file = await open(at('huge.tar'), 'w');
    await file.write(size);
    // The picture is a hole in the file.
    await file.write(archive.subarray(header + 512), 0, null, size.length + MOST + 1024);
    await file.close();
    const before = process.memoryUsage().arrayBuffers;
    const { names, skipped } = await skippedOf((extra) => openOwn([at('huge.tar')], extra));
    assert.deepEqual(names, ['before.png', 'behind.png']);
    assert.match(skipped[0], /huge\.png: the picture has 134218752 bytes, more than the 134217728 that are read/);
    assert.ok(process.memoryUsage().arrayBuffers - before < MOST / 4);
  });

  it('give one message for an archive that is compressed, cut off or none', async () => {
    const whole = tarOf([...pair('0'), ...pair('1'), ...pair('2')]);
    await writeFile(at('zipped.tar'), gzipSync(whole));
    await writeFile(at('cut.tar'), whole.subarray(0, whole.indexOf('1.txt') + 300));
    await writeFile(at('whole.tar'), whole);
    const { names, skipped } = await skippedOf((extra) =>
      openOwn([at('zipped.tar'), at('cut.tar'), at('whole.tar')], extra),
    );
    assert.deepEqual([...names].sort(), ['0.png', '0.png', '1.png', '2.png']);
    assert.ok(skipped.some((reason) => /zipped\.tar is compressed; unpack it first/.test(reason)));
    assert.ok(skipped.some((reason) => /cut\.tar is cut off after \d+ bytes; get it again/.test(reason)));
    for (const name of ['a.tar.gz', 'a.tgz', 'https://example.org/a.tar.zst?x=1', 'a.jsonl.gz'])
      await assert.rejects(
        openOwn([name]),
        (error) => error instanceof InputError && /is compressed/.test(error.message),
      );
    await assert.rejects(openTexts(['a.txt.gz'], { tokenizer, length: 8 }), /a\.txt\.gz is compressed/);
  });

  it('lose a row of a table or a line of text, and not what follows', async () => {
    const row = (key: string): string => JSON.stringify({ image: 'photo.png', caption: `a dog ${key}` });
    const latin = Buffer.from('"caf\xe9"\n', 'latin1');
    await writeFile(
      at('rows.jsonl'),
      Buffer.concat([
        Buffer.from(`${row('a')}\n{"image": \n`),
        latin,
        Buffer.from(`[1]\n{"image": "photo.png"}\n${row('b')}`),
      ]),
    );
    await writeFile(at('rows.csv'), 'image,caption\nphoto.png,the dog\nphoto.png\nphoto.png,"two, cups"\n');
    for (const [name, kept, broken] of [
      ['rows.jsonl', 2, [2, 3, 4, 5]],
      ['rows.csv', 2, [3]],
    ] as const) {
      const { names, skipped } = await skippedOf((extra) => openOwn([at(name)], extra));
      assert.equal(names.length, kept);
      assert.deepEqual(
        skipped.slice(0, broken.length).map((reason) => Number(/:(\d+)/.exec(reason)?.[1])),
        broken,
      );
    }
    assert.equal(await countPairs([at('rows.jsonl'), at('rows.csv')]), 9);
    assert.equal(await countPairs([at('rows.csv'), at('whole.tar')]), null);

    const lines = Array.from({ length: 9 }, (_, i) => JSON.stringify(`the dog and the cat ${i}`));
    await writeFile(
      at('lines.jsonl'),
      Buffer.concat([
        Buffer.from(`${lines.slice(0, 4).join('\n')}\n{"no": "text"}\n`),
        latin,
        Buffer.from(lines.slice(4).join('\n')),
      ]),
    );
    const openLines = (extra: object = {}) =>
      openTexts([at('lines.jsonl')], { tokenizer, length: 9, buffer: 1, ...extra });
    const skipped: string[] = [];
    const stream = await openLines({ onSkip: (reason: string) => skipped.push(reason) });
    const words: number[] = [];
    const places: { position: unknown; tokens: number[] }[] = [];
    for (;;) {
      const position = JSON.parse(JSON.stringify(stream.position())) as unknown;
      const tokens = Array.from((await stream.next()).tokens);
      if (stream.epoch > 0) break;
      places.push({ position, tokens });
      words.push(...tokens.filter((id) => id !== tokenizer.endId));
    }
    await stream.close();
    assert.deepEqual(
      words,
      lines.flatMap((line) => tokenizer.encode(JSON.parse(line) as string).ids),
    );
    assert.match(
      skipped.slice(0, 2).join('\n'),
      /lines\.jsonl:5: expected a string, or an object with "text".*\n.*lines\.jsonl:6: the line is not UTF-8/,
    );
    // What lies before a place is not read again.
    const bytes = await readFile(at('lines.jsonl'));
    const { position, tokens } = places[places.length - 2];
    const [, , byte] = (position as { start: { place: number[] } }).start.place;
    assert.ok(byte > bytes.length / 2);
    await writeFile(at('lines.jsonl'), bytes.fill(0xff, 0, byte));
    const again = await openLines();
    await again.restore(position);
    assert.deepEqual(Array.from((await again.next()).tokens), tokens);
    await again.close();
  });

  it('go on in the middle of a shard behind an address, with ranges and without', async () => {
    await writeFile(at('far.tar'), tarOf(Array.from({ length: 40 }, (_, i) => pair(String(i))).flat()));
    const bytes = await readFile(at('far.tar'));
    for (const mode of ['ranges', 'none', 'wrong'] as const) {
      const asked: (string | undefined)[] = [];
      const server = createServer((request, response) => {
        const { range } = request.headers;
        asked.push(range);
        const from = mode === 'none' ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
        const status = from > 0 ? 206 : 200;
        const said = mode === 'wrong' ? from - 512 : from;
        const place = status === 206 ? { 'content-range': `bytes ${said}-${bytes.length - 1}/${bytes.length}` } : {};
        response.writeHead(status, { 'content-length': bytes.length - from, ...place });
        response.end(bytes.subarray(from));
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      try {
        const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/far.tar?key=1`;
        const stream = await openOwn([address], { buffer: 4 });
        const names: string[] = [];
        for (let i = 0; i < 25; i++) names.push((await stream.next()).where);
        const position = stream.position();
        const rest: string[] = [];
        for (let i = 0; i < 8; i++) rest.push((await stream.next()).where);
        await stream.close();
        asked.length = 0;
        const again = await openOwn([address], { buffer: 4 });
        if (mode === 'wrong') {
          // A shard that cannot be had is passed over; there is no other.
          await again.restore(position).then(() => again.next());
          assert.ok(again.skippedCount >= 1);
        } else {
          await again.restore(position);
          const got: string[] = [];
          for (let i = 0; i < 8; i++) got.push((await again.next()).where);
          assert.deepEqual(got, rest);
        }
        const place = (position as { start: { place: number[] } }).start.place[0];
        assert.ok(place > 0 && place % 512 === 0);
        assert.equal(asked[0], `bytes=${place}-`);
        await again.close();
      } finally {
        server.closeAllConnections();
        server.close();
      }
    }
  });

  it('are shared out so that each sample is in one process once, however many shards there are', async () => {
    for (let shard = 0; shard < 5; shard++) {
      const members = Array.from({ length: 7 }, (_, i) => pair(`${shard}-${i}`)).flat();
      await writeFile(at(`part-${shard}.tar`), tarOf(members));
    }
    for (const shards of [5, 3, 2, 1]) {
      const all = Array.from({ length: 7 * shards }, (_, i) => `${Math.floor(i / 7)}-${i % 7}.png`).sort();
      const pattern = at(`part-{0..${shards - 1}}.tar`);
      for (const open of [openOwn, openPictures]) {
        const parts: string[][] = [];
        for (let rank = 0; rank < 3; rank++)
          parts.push(await epochOf(await open([pattern], { rank, worldSize: 3, buffer: 4, seed: 2 })));
        assert.deepEqual(parts.flat().sort(), all, `${shards} shards`);
        assert.ok(parts.every((part) => part.length > 0));
      }
    }
  });
});

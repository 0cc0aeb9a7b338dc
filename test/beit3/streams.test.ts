import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expandBraces, openPairs, openPictures, openTexts, type SampleStream } from '../../beit3/data/stream/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { InputError } from '../../core/errors.js';
import { type Member, tarOf } from './tars.js';
import { writePhoto, writeTinyTokenizer } from './tinyModels.js';

const WORDS = ['a', 'red', 'panda', 'sleeps', 'the', 'dog', 'and', 'cat', 'two', 'cups'];

describe('streams of training data', () => {
  let folder = '';
  let tokenizer: Tokenizer;
  let photo: Uint8Array;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azulejo-streams-'));
    tokenizer = await Tokenizer.load(await writeTinyTokenizer(join(folder, 'tiny.spm')));
    await writePhoto(join(folder, 'photo.png'), 200, 0, 0, 8, 8);
    const { readFile } = await import('node:fs/promises');
    photo = new Uint8Array(await readFile(join(folder, 'photo.png')));
    // Four shards of ten pairs; in the second a picture is broken, and a text missing.
    for (let shard = 0; shard < 4; shard++) {
      const members: Member[] = [{ name: 'folder/', bytes: '', kind: '5' }];
      for (let i = 0; i < 10; i++) {
        const key = `${shard === 3 ? 'long/'.repeat(30) : ''}${shard}${i}`;
        members.push({ name: `${key}.png`, bytes: shard === 1 && i === 4 ? 'no picture' : photo });
        if (!(shard === 1 && i === 7)) members.push({ name: `${key}.txt`, bytes: `${WORDS[shard]} ${WORDS[i]}` });
        members.push({ name: `${key}.json`, bytes: JSON.stringify({ caption: null, key }) });
      }
      await writeFile(join(folder, `pairs-${shard}.tar`), tarOf(members));
    }
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const open = (extra: object = {}, patterns = [join(folder, 'pairs-{0..3}.tar')]) =>
    openPairs(patterns, { tokenizer, maxTokens: 16, buffer: 7, seed: 3, ...extra });

  async function take<S extends { where: string }>(stream: SampleStream<S>, count: number): Promise<string[]> {
    const out: string[] = [];
    for (let i = 0; i < count; i++) out.push((await stream.next()).where.split('/').at(-1) as string);
    return out;
  }

  it('give every pair of every shard once an epoch, in another order each time, and name what is broken', async () => {
    const skipped: string[] = [];
    const stream = await open({ onSkip: (reason: string) => skipped.push(reason) });
    const [first, second] = [await take(stream, 38), await take(stream, 38)];
    assert.equal(new Set(first).size, 38);
    assert.deepEqual([...first].sort(), [...second].sort());
    assert.notDeepEqual(first, second);
    assert.ok(stream.skippedCount >= 2);
    assert.match(skipped.join('\n'), /pairs-1\.tar: 14\.png: the picture is empty or of no known kind/);
    assert.match(skipped.join('\n'), /pairs-1\.tar: 17\.png: there is no text/);
    await stream.close();
    await assert.rejects(stream.next(), /closed/);
  });

  it('go on from any position as if nothing had happened', async () => {
    const whole = await open();
    const all = await take(whole, 90);
    await whole.close();
    for (const at of [0, 1, 6, 7, 20, 37, 38, 55]) {
      const before = await open();
      assert.deepEqual(await take(before, at), all.slice(0, at));
      const position = JSON.parse(JSON.stringify(before.position())) as unknown;
      await before.close();
      const rest = await open();
      await rest.restore(position);
      assert.deepEqual(await take(rest, 90 - at), all.slice(at), `from ${at}`);
      await rest.close();
    }
    const stream = await open();
    await assert.rejects(stream.restore({ start: 3 }), InputError);
    await stream.close();
  });

  it('are shared by processes, by shards and where those are few by records', async () => {
    for (const patterns of [[join(folder, 'pairs-{0..3}.tar')], [join(folder, 'pairs-0.tar')]]) {
      const parts: string[][] = [];
      for (let rank = 0; rank < 2; rank++) {
        const stream = await open({ rank, worldSize: 2 }, patterns);
        const count = patterns[0].includes('{') ? 18 : 5;
        parts.push(await take(stream, count));
        await stream.close();
      }
      assert.equal(new Set(parts.flat()).size, parts.flat().length);
    }
  });

  it('come over the network, from the middle of a shard and through a connection that breaks', async () => {
    const { readFile } = await import('node:fs/promises');
    let answers = 0;
    const ranges: (string | undefined)[] = [];
    const server = createServer(async (request, response) => {
      const bytes = await readFile(join(folder, (request.url ?? '').slice(1))).catch(() => null);
      if (bytes === null) return void response.writeHead(404).end();
      ranges.push(request.headers.range);
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      response.writeHead(from > 0 ? 206 : 200, { 'content-length': bytes.length - from });
      // The first answer breaks off in the middle.
      if (answers++ > 0) return void response.end(bytes.subarray(from));
      response.write(bytes.subarray(from, 5000), () => response.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const skipped: string[] = [];
      const addresses = [`${at}/pairs-{0..3}.tar`, `${at}/missing.tar`];
      const stream = await open({ onSkip: (reason: string) => skipped.push(reason) }, addresses);
      const got = await take(stream, 38);
      const position = stream.position();
      assert.equal(new Set(got).size, 38);
      assert.ok(
        ranges.some((range) => range === 'bytes=5000-'),
        `${ranges}`,
      );
      assert.match(skipped.join('\n'), /missing\.tar: the server answered 404/);
      const next = await take(stream, 9);
      await stream.close();
      const again = await open({}, addresses);
      await again.restore(position);
      assert.deepEqual(await take(again, 9), next);
      await again.close();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('lose the rest of a damaged shard and nothing else; what is no archive says so', async () => {
    const { readFile } = await import('node:fs/promises');
    const bytes = await readFile(join(folder, 'pairs-0.tar'));
    await writeFile(join(folder, 'cut.tar'), bytes.subarray(0, 9000));
    const damaged = Uint8Array.from(bytes);
    damaged.fill(7, 8704, 9216);
    await writeFile(join(folder, 'damaged.tar'), damaged);
    await writeFile(join(folder, 'huge.tar'), tarOf([{ name: 'a.png', bytes: photo }]).fill('7', 124, 135));
    const skipped: string[] = [];
    const patterns = ['cut.tar', 'damaged.tar', 'huge.tar', 'pairs-2.tar'].map((name) => join(folder, name));
    const stream = await open({ onSkip: (reason: string) => skipped.push(reason) }, patterns);
    await take(stream, 30);
    await stream.close();
    assert.match(skipped.join('\n'), /cut\.tar is cut off after 9000 bytes/);
    assert.match(skipped.join('\n'), /damaged\.tar is no tar archive, or damaged at byte 8704/);
    assert.match(skipped.join('\n'), /huge\.tar/);
    const none = await open({}, [join(folder, 'huge.tar')]);
    await assert.rejects(none.next(), /There is no record in .*huge\.tar/);
    await none.close();
  });

  it('read tables of pairs, of which each epoch takes another caption', async () => {
    const rows = [
      { image: 'photo.png', captions: ['a red panda', 'the dog'] },
      { image: 'photo.png', captions: ['two cups'] },
      { image: 'photo.png' },
    ];
    await writeFile(join(folder, 'table.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
    await writeFile(join(folder, 'table.csv'), 'image,caption\nphoto.png,"a red, red panda"\n');
    const stream = await open({ buffer: 1 }, [join(folder, 'table.jsonl')]);
    const texts: string[] = [];
    for (let i = 0; i < 4; i++) texts.push(tokenizer.decode((await stream.next()).tokens));
    assert.deepEqual(texts, ['a red panda', 'two cups', 'the dog', 'two cups']);
    assert.equal(stream.skippedCount, 1);
    await stream.close();
    const csv = await open({}, [join(folder, 'table.csv')]);
    const sample = await csv.next();
    assert.equal(tokenizer.decode(sample.tokens), 'a red, red panda');
    assert.equal(sample.picture, join(folder, 'photo.png'));
    await csv.close();
  });

  it('pack texts to whole length, without losing a token, and go on in the middle of a line', async () => {
    const lines = Array.from({ length: 40 }, (_, i) =>
      Array.from({ length: 1 + ((i * 7) % 23) }, (_, k) => WORDS[(i + k) % 10]).join(' '),
    );
    await writeFile(join(folder, 'texts.txt'), `${lines.join('\n\n')}\n`);
    const openOwn = (buffer: number) =>
      openTexts([join(folder, 'texts.txt')], { tokenizer, length: 12, buffer, seed: 1 });
    const stream = await openOwn(1);
    const ids: number[] = [];
    const words = lines.flatMap((line) => tokenizer.encode(line).ids);
    const stretches: number[][] = [];
    const positions: unknown[] = [];
    const wordsOf = (tokens: readonly number[]) => tokens.filter((id) => id !== tokenizer.endId);
    while (ids.length < words.length) {
      positions.push(stream.position());
      const tokens = Array.from((await stream.next()).tokens);
      stretches.push(tokens);
      ids.push(...wordsOf(tokens));
    }
    assert.deepEqual(ids, words);
    assert.ok(stretches.slice(0, -1).every(({ length }) => length === 10));
    assert.ok(stretches.filter((tokens) => tokens.includes(tokenizer.endId)).length > 10);
    await stream.close();
    for (const k of [3, 11, positions.length - 1]) {
      const again = await openOwn(1);
      await again.restore(positions[k]);
      assert.deepEqual(Array.from((await again.next()).tokens), stretches[k]);
      await again.close();
    }
  });

  it('read folders of pictures and shards alike, and refuse what is neither', async () => {
    await mkdir(join(folder, 'pictures', 'deep'), { recursive: true });
    for (const name of ['a.png', 'b.png', 'deep/c.png']) await writeFile(join(folder, 'pictures', name), photo);
    await writeFile(join(folder, 'pictures', 'notes.txt'), 'no picture');
    const stream = await openPictures([join(folder, 'pictures')], { seed: 1 });
    assert.deepEqual((await take(stream, 3)).sort(), ['a.png', 'b.png', 'c.png']);
    await stream.close();
    const shards = await openPictures([join(folder, 'pairs-*.tar')], { seed: 1 });
    assert.equal(new Set(await take(shards, 39)).size, 39);
    await shards.close();
    await assert.rejects(openPictures([join(folder, 'tiny.spm')]), /no picture by its name/);
    await assert.rejects(openPictures([join(folder, 'nothing-*.tar')]), /names no file/);
    await assert.rejects(openPictures([join(folder, 'missing')]), /There is no file/);
    assert.deepEqual(expandBraces('a{08..11}{x,y}').slice(0, 3), ['a08x', 'a08y', 'a09x']);
    assert.throws(() => expandBraces('{0..99999999}'), InputError);
  });
});

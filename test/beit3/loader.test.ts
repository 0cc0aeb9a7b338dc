import assert from 'node:assert/strict';
import { readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AnyBatch } from '../../beit3/data/batch.js';
import { DataLoader, type DataSet, frameTexts, openDataSet, subset } from '../../beit3/data/loader/index.js';
import { maskWords } from '../../beit3/data/loader/masking.js';
import { epochOrder } from '../../beit3/data/loader/order.js';
import { generatorOf } from '../../beit3/data/loader/random.js';
import { evaluation, imageNetTraining } from '../../beit3/data/transforms/index.js';
import { decodeImage, preprocessImage, type RgbImage } from '../../beit3/images/index.js';
import { inputError, temporaryFolder } from '../checkpoints/helpers.js';
import { batchesOf, labelsOf, numbered, SIZE, testing, training } from './loaderHelpers.js';
import { standInTokenizer, TASKS, writePicture, writeStandIn } from './standIns.js';

const square = (side: number): RgbImage => ({ width: side, height: side, data: new Uint8Array(side * side * 3) });

describe('the order of an epoch', () => {
  test('gives every sample to one rank, and as many to each', () => {
    for (const [size, worldSize] of [
      [20, 1],
      [20, 4],
      [23, 4],
      [3, 5],
      [1, 3],
    ]) {
      const shares = Array.from({ length: worldSize }, (_, rank) =>
        epochOrder(size, 3, { training: true, seed: 7, rank, worldSize }),
      );
      const lengths = new Set(shares.map(({ length }) => length));
      assert.deepEqual([...lengths], [Math.ceil(size / worldSize)]);
      const counts = new Map<number, number>();
      for (const row of shares.flatMap((share) => [...share])) counts.set(row, (counts.get(row) ?? 0) + 1);
      assert.equal(counts.size, size, 'none is lost');
      const doubled = [...counts.values()].reduce((sum, n) => sum + n - 1, 0);
      assert.equal(doubled, Math.ceil(size / worldSize) * worldSize - size, 'only what fills up is doubled');

      const tested = Array.from({ length: worldSize }, (_, rank) =>
        epochOrder(size, 3, { training: false, seed: 7, rank, worldSize }),
      );
      for (const share of tested)
        assert.deepEqual(
          [...share],
          [...share].sort((a, b) => a - b),
        );
      assert.deepEqual(
        tested.flatMap((share) => [...share]).sort((a, b) => a - b),
        [...Array(size).keys()],
      );
    }
  });

  test('differs by seed and epoch, and is random', () => {
    const order = (seed: number, epoch: number): string =>
      epochOrder(50, epoch, { training: true, seed, rank: 0, worldSize: 1 }).join();
    assert.equal(order(1, 2), order(1, 2));
    assert.equal(new Set([order(1, 2), order(1, 3), order(2, 2), order(0, 0), [...Array(50).keys()].join()]).size, 5);
  });

  test('batches: whole ones in training, all in evaluation', async () => {
    const transform = evaluation('vl', 2);
    const batch = { batchSize: 4, workers: 0, transform };
    const trained = await batchesOf(numbered(11), { ...batch, training: true, seed: 1 });
    assert.deepEqual(
      trained.map(({ size }) => size),
      [4, 4],
    );
    assert.equal(new Set(labelsOf(trained)).size, 8);
    const tested = await batchesOf(numbered(11), { ...batch, training: false });
    assert.deepEqual(
      tested.map(({ size }) => size),
      [4, 4, 3],
    );
    assert.deepEqual(labelsOf(tested), [...Array(11).keys()]);
    const part = await batchesOf(subset(numbered(11), [9, 2]), { ...batch, training: false });
    assert.deepEqual(labelsOf(part), [9, 2]);
    assert.throws(
      () => new DataLoader(numbered(11), { ...batch, training: true, worldSize: 3, rank: 1, batchSize: 5 }),
      inputError(/4 samples to train on, fewer than a batch of 5/),
    );
  });
});

describe('batches of every task', () => {
  for (const name of TASKS) {
    test(name, async (t) => {
      const folder = await writeStandIn(name, await temporaryFolder(t));
      const tokenizer = await standInTokenizer();
      const open = (split: 'train' | 'val' | 'test') => openDataSet(name, split, { data: folder, tokenizer });
      const options = {
        ...(name === 'imagenet' ? { ...training, transform: imageNetTraining({ size: 40 }) } : training),
      };
      const set = await open('train');
      // ImageNet's stand-in has files that are no pictures; the index of the reference takes them too.
      const data = name === 'imagenet' ? subset(set, rowsWithPictures(set)) : set;

      const local = await batchesOf(data, { ...options, batchSize: 2, workers: 0, seed: 5 }, 1);
      assert.equal(local.length, Math.floor(data.size / 2));
      const addresses: DataSet = { ...data, sample: (row) => addressed(data.sample(row)) };
      const threads = await batchesOf(addresses, { ...options, batchSize: 2, workers: 2, seed: 5 }, 1);
      for (const batch of threads) Object.assign(batch, { files: batch.files.map((file) => fileURLToPath(file)) });
      assert.deepEqual(threads, local, 'threads change nothing');
      const resumed = await batchesOf(data, { ...options, batchSize: 2, workers: 0, seed: 5 }, 1, local.length - 1);
      assert.deepEqual(resumed, local.slice(-1), 'an epoch is taken up in the middle');
      const other = await batchesOf(data, { ...options, batchSize: 2, workers: 0, seed: 6 }, 1);
      assert.notDeepEqual(other[0].images, local[0].images);

      for (const split of ['val', 'test'] as const) {
        const tested = await open(split);
        const batches = await batchesOf(tested, { ...testing, batchSize: 2, workers: 1 });
        assert.equal(
          batches.reduce((sum, { size }) => sum + size, 0),
          tested.size,
        );
        for (const [b, batch] of batches.entries()) {
          const [first] = tested.sample(2 * b).pictures;
          assert.equal(batch.files[0], first);
          const image = await decodeImage(String(first));
          const expected = preprocessImage(image, 'vl', { size: SIZE });
          assert.deepEqual(batch.images.slice(0, expected.length), expected);
          assert.equal(batch.images.length, batch.size * 3 * SIZE * SIZE);
          assert.equal(batch.side, SIZE);
          if ('questionIds' in batch) assert.equal(batch.scores === null, split === 'test');
          if ('predict' in batch) assert.equal(batch.length, 0);
          if ('images2' in batch) {
            const [, right] = tested.sample(2 * b).pictures;
            const second = preprocessImage(await decodeImage(String(right)), 'vl', { size: SIZE });
            assert.deepEqual(batch.images2.slice(0, second.length), second);
            assert.deepEqual(batch.files.slice(0, 2), [first, right]);
          }
        }
      }
    });
  }
});

describe('texts', () => {
  test('are framed, and filled up to the longest or further', () => {
    const { ids, padding, length } = frameTexts([[7, 8, 9], [5]]);
    assert.equal(length, 5);
    assert.deepEqual([...ids], [0, 7, 8, 9, 2, 0, 5, 2, 1, 1]);
    assert.deepEqual([...padding], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    const wide = frameTexts([[5]], 6);
    assert.deepEqual([...wide.ids], [0, 5, 2, 1, 1, 1]);
    assert.deepEqual([...wide.padding], [0, 0, 0, 1, 1, 1]);
    assert.throws(() => frameTexts([[5, 6]], 3), inputError(/4 tokens, more than the 3/));
  });

  test('lose words by the rule of the reference', () => {
    const vocabulary = { size: 1000, maskId: 999 };
    const words = Int32Array.from({ length: 14 }, (_, i) => (i === 0 ? 0 : i === 13 ? 2 : 100 + i));
    const rounds = 4000;
    const chosen = new Array<number>(14).fill(0);
    const replaced: number[] = [];
    let masks = 0;
    let kept = 0;
    for (let i = 0; i < rounds; i++) {
      const ids = words.slice();
      const places = maskWords(ids, 0.6, vocabulary, generatorOf(3, 'mask', 0, i));
      assert.equal(places.length, Math.floor(14 * 0.6 + 0.5));
      assert.deepEqual(
        [...places],
        [...new Set(places)].sort((a, b) => a - b),
      );
      ids.forEach((id, place) => {
        if (!places.includes(place)) {
          assert.equal(id, words[place]);
          return;
        }
        chosen[place]++;
        if (id === vocabulary.maskId) masks++;
        else if (id === words[place]) kept++;
        else replaced.push(id);
      });
    }
    assert.equal(chosen[0], 0, '<s> stays');
    const near = (value: number, expected: number): void =>
      assert.ok(Math.abs(value - expected) < 0.02, `${value} is not about ${expected}`);
    for (const count of chosen.slice(1)) near(count / rounds, 8 / 13);
    const all = rounds * 8;
    near(masks / all, 0.8);
    near(kept / all, 0.1);
    near(replaced.length / all, 0.1);
    assert.ok(replaced.every((id) => id >= 3 && id < 999));
    near(replaced.reduce((sum, id) => sum + id, 0) / replaced.length / 1000, 0.5);

    const count = (length: number, probability: number): number =>
      maskWords(new Int32Array(length), probability, vocabulary, generatorOf(0, 'mask', 0, 0)).length;
    assert.deepEqual([count(3, 0), count(3, 1), count(10, 0.25), count(64, 0.7)], [1, 2, 3, 45]);
  });

  test('captions name the words that are to be predicted', async (t) => {
    const folder = await writeStandIn('coco_captioning', await temporaryFolder(t));
    const data = await openDataSet('coco_captioning', 'train', { data: folder, tokenizer: await standInTokenizer() });
    const options = { ...training, batchSize: 3, workers: 0, maskProbability: 0.5, padTo: 40 };
    const counts = new Set<string>();
    for (const epoch of [0, 1]) {
      for (const batch of await batchesOf(data, options, epoch)) {
        assert.ok('predict' in batch);
        counts.add(batch.predict.join());
        assert.equal(batch.ids.length, 3 * 40);
        assert.deepEqual(
          [...batch.targets],
          [...batch.predict].map((place) => batch.ids[place]),
        );
        batch.ids.forEach((id, place) => {
          if (!batch.predict.includes(place)) assert.equal(batch.masked[place], id);
        });
        for (let row = 0; row < 3; row++) {
          const words = batch.padding.subarray(row * 40, row * 40 + 40).indexOf(1);
          const places = batch.predict.filter((place) => Math.floor(place / 40) === row);
          assert.equal(places.length, Math.floor(words * 0.5 + 0.5));
        }
      }
    }
    assert.ok(counts.size > 1);
    const tokenless = await openDataSet('coco_captioning', 'train', { data: folder });
    await assert.rejects(batchesOf(tokenless, options), inputError(/Masking captions needs the tokenizer/));
  });
});

describe('pictures that cannot be read', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  async function damaged(folder: string): Promise<DataSet<'imageclassification'>> {
    const lines = names.map((name, label) => JSON.stringify({ image_path: `${name}.png`, label }));
    await writeFile(join(folder, 'imagenet.train.index.jsonl'), lines.join('\n'));
    for (const [i, name] of names.entries()) await writePicture(join(folder, `${name}.png`), i);
    await truncate(join(folder, 'b.png'), 60);
    await rm(join(folder, 'd.png'));
    return openDataSet('imagenet', 'train', { data: folder });
  }

  for (const workers of [0, 2]) {
    test(`stop a run or are skipped, with ${workers} threads`, async (t) => {
      const folder = await temporaryFolder(t);
      const data = await damaged(folder);
      const options = { ...testing, workers, batchSize: 2 };
      await assert.rejects(batchesOf(data, options), inputError(/^row [24] of .*train\.index\.jsonl: .*[bd]\.png/));
      assert.deepEqual(labelsOf(await batchesOf(subset(data, [0, 2, 4]), options)), [0, 2, 4]);

      const told: number[] = [];
      const loader = new DataLoader(data, { ...options, skipBroken: true, onSkip: ({ row }) => told.push(row) });
      for (const epoch of [0, 1]) {
        const labels: number[] = [];
        for await (const { labels: some } of loader.epoch(epoch)) labels.push(...some);
        assert.deepEqual(labels, [0, 2, 4]);
      }
      await loader.close();
      assert.deepEqual(told.sort(), [1, 3]);
      assert.equal(loader.skippedCount, 2);
      assert.deepEqual(loader.skipped.flatMap(({ files }) => files).sort(), [
        join(folder, 'b.png'),
        join(folder, 'd.png'),
      ]);

      const trained = { ...training, workers, batchSize: 5, seed: 9 };
      await assert.rejects(batchesOf(data, trained), inputError(/^row [24] of /));
      const order = epochOrder(5, 0, { training: true, seed: 9, rank: 0, worldSize: 1 });
      const good = (place: number): number => {
        while ([1, 3].includes(order[place % 5])) place++;
        return order[place % 5];
      };
      const [batch] = await batchesOf(data, { ...trained, skipBroken: true });
      assert.deepEqual(labelsOf([batch]), [0, 1, 2, 3, 4].map(good));
    });
  }

  for (const workers of [0, 1]) {
    test(`too small ones are told by one sentence or skipped, with ${workers} threads`, async (t) => {
      const data = numbered(3);
      const small = {
        ...data,
        sample: (row: number) => ({ ...data.sample(row), pictures: [square(row === 1 ? 2 : 40)] }),
      };
      const options = { training: true, transform: imageNetTraining({ size: 32 }), workers, batchSize: 3 };
      await assert.rejects(batchesOf(small, options), inputError(/^row 1: A picture of 2 x 2 is too small [^\n]*$/));
      const loader = new DataLoader(small, { ...options, skipBroken: true });
      t.after(() => loader.close());
      for await (const { labels } of loader.epoch(0)) assert.ok(!labels.includes(1) && labels.length === 3);
      assert.equal(loader.skippedCount, 1);
    });
  }

  test('are an error when there are no others', async (t) => {
    const data = subset(await damaged(await temporaryFolder(t)), [1, 3]);
    const options = { workers: 0, batchSize: 1, skipBroken: true };
    await assert.rejects(batchesOf(data, { ...testing, ...options }), inputError(/^None of 2 samples .*b\.png/));
    await assert.rejects(batchesOf(data, { ...training, ...options }), inputError(/^2 samples one after the other/));
  });
});

test('what was decoded once is kept, and changes nothing', async (t) => {
  const folder = await writeStandIn('flickr30k', await temporaryFolder(t));
  const data = await openDataSet('flickr30k', 'train', { data: folder });
  for (const workers of [0, 2]) {
    const options = { ...training, workers, batchSize: 4 };
    const plain = await batchesOf(data, { ...options, cacheMegabytes: 0 }, 2);
    const kept = new DataLoader(data, { ...options, cacheMegabytes: 1 });
    const first: AnyBatch[] = [];
    // Two, since threads begin with the second while pictures of the first are still being decoded.
    for (const epoch of [0, 1]) for await (const batch of kept.epoch(epoch)) first.push(batch);
    const files = await readdir(join(folder, 'flickr30k-images'));
    for (const file of files) await rename(join(folder, 'flickr30k-images', file), join(folder, file));
    const again: AnyBatch[] = [];
    for await (const batch of kept.epoch(2)) again.push(batch);
    await kept.close();
    assert.deepEqual(again, plain);
    const seen = new Set<string>();
    for (const batch of [...first, ...again])
      batch.files.forEach((file, i) => {
        seen.add(`${file} ${batch.images.slice(i * 3 * SIZE ** 2, (i + 1) * 3 * SIZE ** 2).join()}`);
      });
    // Each sample, of which several have one picture, is augmented anew in each epoch.
    assert.ok(seen.size > 0.8 * 4 * (first.length + again.length), `${seen.size} different pictures`);
    await assert.rejects(batchesOf(data, { ...options, cacheMegabytes: 0.001 }), inputError(/no file/));
    for (const file of files) await rename(join(folder, file), join(folder, 'flickr30k-images', file));
  }
});

/** With addresses in the place of paths. */
function addressed<S extends { pictures: readonly unknown[] }>(sample: S): S {
  return { ...sample, pictures: sample.pictures.map((path) => pathToFileURL(String(path))) };
}

function rowsWithPictures(data: DataSet): number[] {
  return [...Array(data.size).keys()].filter((row) => /\.jpe?g$/i.test(String(data.sample(row).pictures[0])));
}

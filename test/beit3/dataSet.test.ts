import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { openDataSet } from '../../beit3/data/loader/index.js';
import { type IndexTask, indexFiles, readIndex, TASK_OF } from '../../beit3/data/rows.js';
import { inputError, temporaryFolder } from '../checkpoints/helpers.js';
import { standInTokenizer, TASKS, writeStandIn } from './standIns.js';

const read = async <T>(rows: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
};

describe('data sets hold the rows of their index files', () => {
  for (const name of TASKS) {
    test(name, async (t) => {
      const folder = await writeStandIn(name, await temporaryFolder(t));
      for (const split of ['train', 'val', 'test'] as const) {
        const data = await openDataSet(name, split, {
          data: folder,
          tokenizer: await standInTokenizer(),
          maxTokens: 12,
        });
        const rows: Record<string, unknown>[] = [];
        for (const file of indexFiles(name, split))
          rows.push(...(await read(readIndex(join(folder, file), TASK_OF[name]))).map((row) => ({ ...row })));
        assert.equal(data.size, rows.length);
        let cut = 0;
        rows.forEach((row, i) => {
          const sample = data.sample(i);
          const pictures = ['image_path', 'image2_path'].flatMap((key) => (key in row ? [row[key]] : []));
          assert.deepEqual(
            sample.pictures,
            pictures.map((path) => join(folder, String(path))),
          );
          if ('tokens' in sample && sample.tokens !== null) {
            const whole = row.text_segment as number[];
            assert.deepEqual(Array.from(sample.tokens), whole.slice(0, 10));
            if (whole.length > 10) cut++;
          }
          if ('label' in sample) assert.equal(sample.label, row.label);
          if ('imageId' in sample) assert.equal(sample.imageId, row.image_id);
          if ('identifier' in sample) assert.equal(sample.identifier, row.identifier);
          if ('questionId' in sample) {
            assert.equal(sample.questionId, row.qid);
            if (split === 'test') assert.equal(sample.answers, null);
            else assert.deepEqual(Array.from(sample.answers?.labels ?? []), row.labels);
            assert.deepEqual(Array.from(sample.answers?.scores ?? []), (row.scores as number[]).map(Math.fround));
          }
        });
        assert.equal(data.cutTexts, cut);
      }
    });
  }
});

describe('openDataSet', () => {
  test('knows classes and answers', async (t) => {
    const folder = await writeStandIn('imagenet', await temporaryFolder(t));
    const open = (classes?: number) => openDataSet('imagenet', 'train', { data: folder, classes });
    assert.equal((await open()).classes, 4);
    assert.equal((await open(1000)).classes, 1000);
    await assert.rejects(open(3), inputError(/imagenet\.train\.index\.jsonl:\d+: .* from 0 to 2/));
    await writeFile(join(folder, 'labels.txt'), 'a\nb\nc\nd\ne\n');
    const named = await open();
    assert.deepEqual([named.classes, named.labels.at(-1)], [5, 'e']);

    const vqa = await openDataSet('vqav2', 'val', { data: await writeStandIn('vqav2', await temporaryFolder(t)) });
    assert.ok(vqa.labels.includes('yes'));
    assert.equal(vqa.classes, vqa.labels.length);
    const pairs = await openDataSet('nlvr2', 'val', { data: await writeStandIn('nlvr2', await temporaryFolder(t)) });
    assert.equal(pairs.classes, 2);
  });

  test('names the command that makes a missing index', async (t) => {
    const folder = await temporaryFolder(t);
    const missing = (name: IndexTask, index?: string) => openDataSet(name, 'train', { data: folder, index });
    await assert.rejects(
      missing('flickr30k'),
      inputError(/no index file .*flickr30k\.train\.jsonl; the command beit3 index flickr30k --data .* makes it\.$/),
    );
    await assert.rejects(missing('nocaps'), inputError(/beit3 index coco_captioning --data /));
    await assert.rejects(missing('imagenet', join(folder, 'i')), inputError(/ --output .*i makes it\.$/));
    await assert.rejects(openDataSet('nlvr2', 'test-dev', { data: folder }), inputError(/no split "test-dev"/));
    await writeStandIn('vqav2', folder);
    await rm(join(folder, 'answer2label.txt'));
    await assert.rejects(missing('vqav2'), inputError(/answer2label\.txt; beit3 index vqav2 makes it/));
  });

  test('takes texts in the place of token ids, and names rows', async (t) => {
    const folder = await temporaryFolder(t);
    const rows = [
      { image_path: 'a.png', text_segment: 'a dog', image_id: 1 },
      { image_path: '/b.png', text_segment: [5, 6], image_id: 2 },
    ];
    const write = (list: object[]) =>
      writeFile(join(folder, 'coco_captioning.train.jsonl'), list.map((row) => `${JSON.stringify(row)}\n`).join(''));
    await write(rows);
    const tokenizer = await standInTokenizer();
    const data = await openDataSet('nocaps', 'train', { data: folder, tokenizer });
    assert.deepEqual(Array.from(data.sample(0).tokens ?? []), tokenizer.encode('a dog').ids);
    assert.deepEqual(data.sample(1).pictures, ['/b.png']);
    assert.equal(data.where(1), `row 2 of ${join(folder, 'coco_captioning.train.jsonl')}`);
    await assert.rejects(openDataSet('nocaps', 'train', { data: folder }), inputError(/row 1 .*give the tokenizer/));
    await write([rows[1], { image_path: 'a.png', text_segment: null, image_id: 3 }]);
    await assert.rejects(
      openDataSet('coco_captioning', 'train', { data: folder, tokenizer }),
      inputError(/row 2 of .* has no text/),
    );
    await write([rows[1]]);
    await assert.rejects(
      openDataSet('coco_captioning', 'train', { data: folder, vocabularySize: 6 }),
      inputError(/train\.jsonl:1: .* token ids below 6, the size of the vocabulary/),
    );
    await write([]);
    await assert.rejects(openDataSet('coco_captioning', 'train', { data: folder }), inputError(/has no rows/));
  });
});

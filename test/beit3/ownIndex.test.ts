/** People's own pictures: class folders and tables become index files, and those become data sets. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { indexClassFolders, indexTable } from '../../beit3/data/index/index.js';
import { type IndexedDataSet, openDataSet } from '../../beit3/data/loader/index.js';
import type { IndexTask } from '../../beit3/data/rows.js';
import { inputError, temporaryFolder } from '../checkpoints/helpers.js';
import { beit3, succeedJson } from '../cli/command.js';
import { fixture } from '../support/fixtures.js';
import { standInTokenizer } from './standIns.js';

async function touch(folder: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), '');
  }
}

const PICTURES = Array.from({ length: 10 }, (_, i) => `p${i}.jpg`);

/** The data sets that the index of a table makes. */
async function opened<N extends IndexTask>(
  t: TestContext,
  task: N,
  file: string,
  content: string,
  options: { answers?: readonly string[]; valShare?: number; testShare?: number } = {},
): Promise<{
  folder: string;
  notes: readonly string[];
  open: (split: 'train' | 'val' | 'test') => Promise<IndexedDataSet<N>>;
}> {
  const folder = await temporaryFolder(t);
  await touch(folder, PICTURES);
  await writeFile(join(folder, file), content);
  const tokenizer = await standInTokenizer();
  const { notes } = await indexTable(task, join(folder, file), { data: folder, tokenizer, ...options });
  return { folder, notes, open: (split) => openDataSet(task, split, { data: folder, tokenizer }) };
}

describe('an index of class folders', () => {
  const files = [
    ...Array.from({ length: 10 }, (_, i) => `pets/cat/${i}.jpg`),
    ...Array.from({ length: 5 }, (_, i) => `pets/dog/deep/${i}.PNG`),
    'pets/bird/one.webp',
    'pets/dog/notes.txt',
    'pets/empty/readme.md',
    'pets/.hidden/x.jpg',
  ];

  it('keeps a share of each class for validation', async (t) => {
    const folder = await temporaryFolder(t);
    await touch(folder, files);
    const data = join(folder, 'pets');
    const { notes } = await indexClassFolders({ data, valShare: 0.2 });
    assert.equal(notes.length, 2);
    const train = await openDataSet('imagenet', 'train', { data });
    const val = await openDataSet('imagenet', 'val', { data });
    assert.deepEqual(train.labels, ['bird', 'cat', 'dog']);
    assert.equal(val.classes, 3);
    const counts = (set: IndexedDataSet<'imagenet'>): number[] =>
      [0, 1, 2].map(
        (label) => Array.from({ length: set.size }, (_, i) => set.sample(i).label).filter((l) => l === label).length,
      );
    assert.deepEqual(counts(train), [1, 8, 4]);
    assert.deepEqual(counts(val), [0, 2, 1]);
    const paths = [train, val].flatMap((set) => Array.from({ length: set.size }, (_, i) => set.sample(i).pictures[0]));
    assert.deepEqual(
      paths.sort(),
      files
        .slice(0, 16)
        .map((file) => join(folder, file))
        .sort(),
    );
    await assert.rejects(indexClassFolders({ data: join(data, 'dog') }), inputError(/has 1 folders with images/));
  });

  it('is made by the command', async (t) => {
    const folder = await temporaryFolder(t);
    await touch(folder, files.slice(0, 16));
    const made = await succeedJson('index', 'imagenet', '--data', join(folder, 'pets'), '--val-share', '0.5');
    const { files: written } = made as { files: { path: string; rows: number }[] };
    assert.deepEqual(
      written.slice(0, 2).map(({ rows }) => rows),
      [8, 8],
    );
    assert.equal(await readFile(join(folder, 'pets', 'labels.txt'), 'utf8'), 'bird\ncat\ndog\n');
  });
});

describe('an index of a table', () => {
  it('of captions: CSV with quotes, for retrieval', async (t) => {
    const lines = PICTURES.flatMap((picture, i) => [`${picture},"a ""big"" dog, running"`, `${picture},two cups ${i}`]);
    const { open } = await opened(t, 'coco_retrieval', 'texts.csv', `image,caption\r\n${lines.join('\r\n')}\r\n`);
    const sets = [await open('train'), await open('val'), await open('test')];
    assert.deepEqual(
      sets.map(({ size }) => size),
      [16, 2, 2],
    );
    const tokenizer = await standInTokenizer();
    const pictures = sets.map((set) => new Set(Array.from({ length: set.size }, (_, i) => set.sample(i).pictures[0])));
    assert.equal(new Set(pictures.flatMap((some) => [...some])).size, 10, 'no picture is in two splits');
    assert.equal(tokenizer.decode(sets[1].sample(0).tokens), 'a "big" dog, running');
    assert.equal(sets[1].sample(0).imageId, sets[1].sample(1).imageId);
  });

  it('of captions: JSONL with lists and splits, for captioning', async (t) => {
    const rows = PICTURES.map((image, i) => ({
      image,
      captions: ['a dog', `a cat ${i}`],
      split: i < 8 ? 'train' : i === 8 ? 'val' : 'test',
    }));
    const { folder, open } = await opened(
      t,
      'coco_captioning',
      'rows.jsonl',
      rows.map((row) => JSON.stringify(row)).join('\n'),
    );
    const [train, val] = [await open('train'), await open('val')];
    assert.deepEqual([train.size, val.size], [16, 1]);
    assert.equal(val.sample(0).tokens, null);
    const references = JSON.parse(await readFile(join(folder, 'coco_karpathy_val_gt.json'), 'utf8')) as {
      annotations: { image_id: number; caption: string }[];
    };
    assert.deepEqual(
      references.annotations.map(({ caption, image_id }) => [image_id, caption]),
      [
        [val.sample(0).imageId, 'a dog'],
        [val.sample(0).imageId, 'a cat 8'],
      ],
    );
  });

  it('of questions, with answers that are counted or given', async (t) => {
    const lines = PICTURES.map(
      (image, i) => `${image}\tis it a dog\t${i < 7 ? 'Yes' : 'no'}\t${i < 9 ? 'train' : 'val'}`,
    );
    const table = `image\tquestion\tanswer\tsplit\n${lines.join('\n')}`;
    const counted = await (await opened(t, 'vqav2', 'q.tsv', table)).open('train');
    assert.deepEqual(counted.labels, ['yes', 'no']);
    assert.deepEqual(Array.from(counted.sample(0).answers?.labels ?? []), [0]);
    assert.deepEqual(Array.from(counted.sample(8).answers?.scores ?? []), [1]);
    const given = await opened(t, 'vqav2', 'q.tsv', table, { answers: ['maybe', 'yes'] });
    const train = await given.open('train');
    assert.deepEqual([train.size, train.classes], [7, 2]);
    assert.deepEqual(Array.from(train.sample(0).answers?.labels ?? []), [1]);
    assert.match(given.notes.join(), /3 questions were left out/);
  });

  it('of pairs, and of classes', async (t) => {
    const pairs = PICTURES.slice(0, 8).map(
      (image, i) => `${image};${PICTURES[i + 1]};both are dogs;${i % 2 ? 'true' : 'False'}`,
    );
    const nlvr2 = await opened(t, 'nlvr2', 'pairs.csv', `image;image2;sentence;label\n${pairs.join('\n')}`, {
      valShare: 0,
      testShare: 0,
    });
    const train = await nlvr2.open('train');
    const first = train.sample(0);
    assert.deepEqual(first.pictures.map(String), [join(nlvr2.folder, 'p0.jpg'), join(nlvr2.folder, 'p1.jpg')]);
    assert.deepEqual([first.label, train.sample(1).label, train.classes], [0, 1, 2]);

    const classes = PICTURES.map((image, i) => `${image},${'abc'[i % 3]}`);
    const imagenet = await opened(t, 'imagenet', 'classes.csv', `file,class\n${classes.join('\n')}`);
    const set = await imagenet.open('train');
    assert.deepEqual([set.labels, set.size, (await imagenet.open('val')).size], [['a', 'b', 'c'], 9, 1]);
  });

  it('names the row that is wrong, and writes nothing', async (t) => {
    const make = (task: IndexTask, content: string, file = 'x.csv') => opened(t, task, file, content);
    await assert.rejects(
      make('flickr30k', 'image,text\np1.jpg,a\nq.jpg,b'),
      inputError(/x\.csv:3: there is no image .*q\.jpg/),
    );
    await assert.rejects(make('flickr30k', 'image,text\np1.jpg,a,b'), inputError(/x\.csv:2: the row has 3 columns/));
    await assert.rejects(make('flickr30k', 'image,words\np1.jpg,a'), inputError(/x\.csv:2: the row has no text/));
    await assert.rejects(
      make('nlvr2', 'image,image2,text,label\np1.jpg,p2.jpg,a,maybe'),
      inputError(/expected true or false/),
    );
    await assert.rejects(make('nocaps', 'image,text\np1.jpg,a'), inputError(/as coco_captioning/));
    const folder = await temporaryFolder(t);
    await touch(folder, PICTURES);
    await writeFile(join(folder, 'x.jsonl'), '{"image": "p1.jpg", "text": 3}\n{"image": "p2.jpg"}');
    const args = [
      'index',
      'flickr30k',
      '--data',
      folder,
      '--table',
      join(folder, 'x.jsonl'),
      '--tokenizer',
      fixture('tokenizer.spm'),
    ];
    const { code, stderr } = await beit3(args);
    assert.equal(code, 2);
    assert.match(stderr, /^beit3: .*x\.jsonl:2: the row has no text[^\n]*\n$/);
    assert.deepEqual((await readdir(folder)).sort(), [...PICTURES, 'x.jsonl']);
    await rename(join(folder, 'x.jsonl'), join(folder, 'x.txt'));
    assert.match((await beit3(args.with(5, join(folder, 'x.txt')))).stderr, /x\.txt is no table by its name/);
  });
});

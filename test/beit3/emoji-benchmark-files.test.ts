import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type IndexTask, readAnswers } from '../../beit3/data/index/index.js';
import { openDataSet } from '../../beit3/data/openDataSet.js';
import { type EmojiIndexReport, writeEmojiIndex } from '../../beit3/emoji/benchmark/files.js';
import { type EmojiBenchmark, emojiBenchmark, evaluationSet } from '../../beit3/emoji/benchmark/index.js';
import { type EmojiCorpus, loadEmojiCorpus } from '../../beit3/emoji/corpus.js';
import { loadSharp } from '../../beit3/emoji/draw.js';
import { cleanText } from '../../beit3/emoji/text.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { refuse } from '../cli/command.js';

const TASKS: readonly IndexTask[] = ['imagenet', 'vqav2', 'nlvr2', 'coco_retrieval', 'coco_captioning'];

function filesOf(set: { sample(row: number): { readonly pictures: readonly unknown[] } }, row: number): string[] {
  return set.sample(row).pictures.map(String);
}

describe('the emoji benchmark as files', () => {
  let folder: string;
  let output: string;
  let corpus: EmojiCorpus;
  let benchmark: EmojiBenchmark;
  let report: EmojiIndexReport;
  let tokenizer: Tokenizer;
  const options = { heldOutStyle: 'fxemoji', seed: 3, trainingQuestions: 2000, trainingPairs: 2000 };
  const steps = new Set<string>();

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azulejo-emoji-index-'));
    output = join(folder, 'emoji');
    const styles = ['emojione', 'emojione-v1', 'fxemoji'];
    corpus = await loadEmojiCorpus({ size: 8, styles, cacheDirectory: join(folder, 'cache') });
    benchmark = emojiBenchmark(corpus, options);
    report = await writeEmojiIndex(corpus, { ...options, output, onProgress: (what) => void steps.add(what) });
    tokenizer = await Tokenizer.load(join(output, 'emoji.spm'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('are there with nothing beside them, and no picture is missing', async () => {
    assert.deepEqual((await readdir(folder)).sort(), ['cache', 'emoji']);
    let pictures = 0;
    for (const style of corpus.styles) pictures += (await readdir(join(output, 'images', style))).length;
    assert.equal(pictures, corpus.entries.length);
    assert.ok(steps.has('writing pictures') && steps.has('training the tokenizer'));
    const summary = JSON.parse(await readFile(join(output, 'benchmark.json'), 'utf8')) as typeof report;
    assert.deepEqual(summary.splits, report.splits);
    assert.equal(report.splits.train.pictures, benchmark.train.length);
    assert.ok(report.chance.zeroShot.retrieval.r1 > report.chance.test.retrieval.r1);
  });

  it('are read back by the data sets of every task', async () => {
    const sharp = await loadSharp();
    for (const [data, splits] of [
      [output, ['train', 'val', 'test']],
      [join(output, 'unseen-style'), ['val', 'test']],
      [join(output, 'zero-shot'), ['val', 'test']],
      [join(output, 'zero-shot-known-styles'), ['val', 'test']],
    ] as const) {
      for (const task of TASKS) {
        for (const split of splits) {
          const set = await openDataSet(task, split, { data, tokenizer });
          assert.ok(set.size > 10, `${task} ${split}`);
          assert.equal(set.cutTexts, 0);
          for (const file of filesOf(set, set.size - 1)) {
            const { width, height } = await sharp(file).metadata();
            assert.deepEqual([width, height], [8, 8], file);
          }
        }
      }
    }
  });

  it('show the unseen style in the test only', async () => {
    const styles = async (task: IndexTask, split: 'train' | 'val' | 'test', data = output) => {
      const set = await openDataSet(task, split, { data, tokenizer });
      const found = new Set<string>();
      for (let row = 0; row < set.size; row++) {
        for (const file of filesOf(set, row)) found.add(file.split('/').at(-2) as string);
      }
      return [...found].sort();
    };
    for (const task of TASKS) {
      assert.deepEqual(await styles(task, 'train'), ['emojione', 'emojione-v1']);
      assert.deepEqual(await styles(task, 'val'), ['emojione', 'emojione-v1']);
      if (task !== 'imagenet') assert.deepEqual(await styles(task, 'test'), ['fxemoji']);
      assert.deepEqual(await styles(task, 'val', join(output, 'unseen-style')), ['fxemoji']);
      assert.deepEqual(await styles(task, 'val', join(output, 'zero-shot')), ['fxemoji']);
    }
  });

  it('hold the examples of the benchmark: pictures, texts and answers', async () => {
    const { questions, pairs, entries } = evaluationSet(benchmark, 'test');
    const rows = async (name: string) =>
      (await readFile(join(output, name), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, never>);
    const answers = await readAnswers(join(output, 'answer2label.txt'));
    const vqa = await rows('vqa.test.jsonl');
    assert.equal(vqa.length, questions.length);
    questions.forEach(({ entry, question, answer }, i) => {
      assert.equal(tokenizer.decode(vqa[i].text_segment), question.normalize('NFKC'));
      assert.equal(answers[vqa[i].labels[0]], answer);
      assert.match(vqa[i].image_path, new RegExp(`^images/${entry.style}/.*\\.png$`));
    });
    const nlvr2 = await rows('nlvr2.test-P.index.jsonl');
    assert.deepEqual(
      nlvr2.map(({ identifier, label }) => [identifier, label]),
      pairs.map(({ identifier, label }) => [identifier, label ? 1 : 0]),
    );
    const captions = JSON.parse(await readFile(join(output, 'coco_karpathy_test_gt.json'), 'utf8')) as {
      annotations: { image_id: number; caption: string }[];
    };
    assert.deepEqual(
      captions.annotations.map(({ image_id, caption }) => [image_id, caption]),
      entries.map((entry) => [entry.image, cleanText(entry.label)]),
    );
    const classes = (await readFile(join(output, 'labels.txt'), 'utf8')).trim().split('\n');
    const fruit = (await rows('imagenet.train.index.jsonl')).find((row) =>
      /\/(banana|pineapple|peach)\.png$/.test(row.image_path),
    );
    assert.equal(classes[fruit?.label as unknown as number], 'fruit');
  });

  it('have pictures that are those of the corpus', async () => {
    const sharp = await loadSharp();
    const banana = corpus.entries.find(({ style, label }) => style === 'emojione' && label === 'banana');
    const pixels = await sharp(join(output, 'images', 'emojione', 'banana.png'))
      .raw()
      .toBuffer();
    assert.deepEqual(new Uint8Array(pixels), new Uint8Array(corpus.image(banana?.image ?? -1)));
  });

  it('come out the same again, with the tokenizer that is given', async () => {
    const again = join(folder, 'again');
    const spm = await readFile(join(output, 'emoji.spm'));
    await writeEmojiIndex(corpus, { ...options, output: again, tokenizer: spm });
    for (const name of ['vqa.train.jsonl', 'nlvr2.train.index.jsonl', 'coco_retrieval.train.jsonl', 'benchmark.json']) {
      assert.equal(await readFile(join(again, name), 'utf8'), await readFile(join(output, name), 'utf8'), name);
    }
  });

  it('do not overwrite anything, and leave nothing when they fail', async () => {
    await assert.rejects(writeEmojiIndex(corpus, { ...options, output }), { name: 'InputError', message: /not empty/ });
    const file = join(folder, 'file');
    await writeFile(file, '');
    await assert.rejects(writeEmojiIndex(corpus, { ...options, output: file }), {
      name: 'InputError',
      message: /no folder/,
    });
    await rm(file);
    const failed = writeEmojiIndex(corpus, { ...options, output: join(folder, 'failed'), tokenizer: Uint8Array.of(1) });
    await assert.rejects(failed, { name: 'InputError' });
    assert.deepEqual((await readdir(folder)).sort(), ['again', 'cache', 'emoji']);
  });

  it('refuse in one sentence what has no meaning', async () => {
    await refuse(/--data has no meaning for emoji/, 'index', 'emoji', '--data', folder, '--output', join(folder, 'x'));
    await refuse(/--output/, 'index', 'emoji');
    await refuse(/--zero-shot has no meaning/, 'index', 'nlvr2', '--data', folder, '--zero-shot', '0.1');
    await refuse(/--size/, 'index', 'emoji', '--output', join(folder, 'x'), '--size', '1000');
    await refuse(/is not empty; choose another/, 'index', 'emoji', '--output', output, '--zero-shot', '0.2');
  });
});

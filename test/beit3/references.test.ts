/** References and annotations from the files of the data sets, and what was published of the official checkpoints. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type DataSet, openDataSet } from '../../beit3/data/loader/index.js';
import { captionReferences, evaluatedSamples } from '../../beit3/evaluate/dataSet.js';
import { compareMetrics } from '../../beit3/evaluate/expected.js';
import { readAnsweredQuestions, readCaptionReferences } from '../../beit3/evaluate/references.js';
import { findWeights, WEIGHTS } from '../../checkpoints/index.js';
import { PUBLISHED, publishedResults } from '../../checkpoints/published.js';
import { InputError } from '../../core/errors.js';
import { fixture } from '../support/fixtures.js';
import { layOut, standInTokenizer } from './standIns.js';

let folder = '';
const at = (name: string): string => join(folder, name);
const write = async (name: string, content: unknown): Promise<string> => {
  await writeFile(at(name), typeof content === 'string' ? content : JSON.stringify(content));
  return at(name);
};
const refused = (promise: Promise<unknown>, message: RegExp) =>
  assert.rejects(promise, (error) => error instanceof InputError && message.test(error.message));

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-references-'));
});
after(() => rm(folder, { recursive: true, force: true }));

describe('captions of people', () => {
  it("are read from COCO's format and from Karpathy's file alike", async () => {
    const captions: [number, string][] = [
      [7, 'one'],
      [9, 'another'],
      [7, 'two'],
      [8, 'of a picture that is not wanted'],
    ];
    const annotations = captions.map(([image_id, caption], id) => ({ id, image_id, caption }));
    const coco = await write('coco.json', { info: {}, images: [{ id: 7 }, { id: 8 }], annotations });
    const bare = await write('bare.json', { annotations });
    const sentences = (id: number) => captions.flatMap(([own, raw]) => (own === id ? [{ raw, tokens: [] }] : []));
    const images = [7, 8, 9].map((cocoid) => ({ cocoid, split: 'val', sentences: sentences(cocoid) }));
    const karpathy = await write('karpathy.json', { images, dataset: 'coco' });
    const wanted = new Map([
      [7, ['one', 'two']],
      [9, ['another']],
    ]);
    for (const file of [coco, bare, karpathy])
      assert.deepEqual(await readCaptionReferences(file, new Set([7, 9])), wanted, file);
    await refused(readCaptionReferences(coco, new Set([7, 10, 11])), /no caption of image 10, nor of 1 others of 3/);
  });

  it('of NoCaps are those of its own file', async () => {
    const file = fixture('datasets/nocaps/nocaps_val_4500_captions.json');
    const { images, annotations } = JSON.parse(await readFile(file, 'utf8')) as {
      images: { id: number }[];
      annotations?: { image_id: number; caption: string }[];
    };
    assert.ok(annotations, 'the stand-in has captions');
    const found = await readCaptionReferences(file, new Set([images[0].id]));
    assert.deepEqual(
      found.get(images[0].id),
      annotations.filter(({ image_id }) => image_id === images[0].id).map(({ caption }) => caption),
    );
  });

  it('that are none are told so', async () => {
    const wanted = new Set([1]);
    await refused(readCaptionReferences(at('none.json'), wanted), /no file .*none\.json/);
    await refused(readCaptionReferences(await write('list.json', [1, 2]), wanted), /list\.json/);
    await refused(readCaptionReferences(await write('text.json', 'no JSON'), wanted), /text\.json/);
    await refused(
      readCaptionReferences(await write('empty.json', { images: [] }), wanted),
      /"annotations"|annotations/,
    );
    const wrong = { annotations: [{ image_id: 1, caption: 5 }] };
    await refused(readCaptionReferences(await write('wrong.json', wrong), wanted), /annotations\[0\].*"caption"/);
  });

  it('are found in the index or beside it, and a picture is evaluated once', async () => {
    const tokenizer = await standInTokenizer();
    const data = at('data');
    await layOut('coco_captioning', data);
    const row = (image_id: number, text: string | null) =>
      JSON.stringify({ image_path: `${image_id}.jpg`, text_segment: text && tokenizer.encode(text).ids, image_id });
    const index = async (split: string, rows: string[]) =>
      write(`data/coco_captioning.${split}.jsonl`, rows.join('\n'));
    await index('val', [row(4, 'a dog runs'), row(5, 'a cat'), row(4, 'the dog')]);
    const open = (split: 'val' | 'test') => openDataSet('coco_captioning', split, { data, tokenizer });
    const val = await open('val');
    const samples = evaluatedSamples<'captioning'>(val as DataSet<'captioning'>);
    assert.deepEqual(
      [0, 1].map((i) => samples.sample(i).imageId),
      [4, 5],
    );
    assert.equal(samples.size, 2);
    const options = { folders: [data], tokenizer };
    const inIndex = await captionReferences(val, samples, options);
    assert.deepEqual(
      [...(inIndex?.references ?? [])],
      [
        [4, ['a dog runs', 'the dog']],
        [5, ['a cat']],
      ],
    );
    // Without captions in the index Karpathy's file counts, and a file of the split before it.
    const karpathy = JSON.parse(await readFile(at('data/dataset_coco.json'), 'utf8')) as {
      images: { cocoid: number; sentences: { raw: string }[] }[];
    };
    const [{ cocoid, sentences }] = karpathy.images;
    await index('test', [row(cocoid, null)]);
    const test = await open('test');
    const beside = await captionReferences(test, test, options);
    assert.deepEqual(
      beside?.references.get(cocoid),
      sentences.map(({ raw }) => raw),
    );
    const own = await write('data/coco_karpathy_test_gt.json', { annotations: [{ image_id: cocoid, caption: 'own' }] });
    assert.deepEqual(await captionReferences(test, test, options), {
      references: new Map([[cocoid, ['own']]]),
      source: own,
    });
    assert.equal(await captionReferences(test, test, { ...options, folders: [at('elsewhere')] }), null);
  });
});

describe('answers of people', () => {
  it('are read for the questions that are asked', async () => {
    const file = fixture('datasets/vqav2/vqa/v2_mscoco_val2014_annotations.json');
    const { annotations } = JSON.parse(await readFile(file, 'utf8')) as {
      annotations: { question_id: number; answer_type: string; answers: { answer: string }[] }[];
    };
    const [first] = annotations;
    const { questions, total } = await readAnsweredQuestions(file, new Set([first.question_id]));
    assert.equal(total, annotations.length);
    assert.equal(questions.length, 1);
    assert.deepEqual(
      questions[0].answers,
      first.answers.map(({ answer }) => answer),
    );
    assert.equal(questions[0].answerType, first.answer_type);
    await refused(readAnsweredQuestions(file, new Set([-1])), /no answers to question -1, nor to 0 others of 1/);
    const wrong = await write('answers.json', { annotations: [{ question_id: 1, answers: [] }] });
    await refused(readAnsweredQuestions(wrong, new Set([1])), /annotations\[0\] of .*answers\.json/);
  });
});

describe('published results', () => {
  it('are of every official checkpoint that was fine-tuned, and of no other', () => {
    const tuned = WEIGHTS.map(({ name }) => name.replace(/\.pth$/, '')).filter((name) =>
      /^beit(3_.*_(in1k|nlvr2|vqa|coco_captioning|nocaps|coco_retrieval|f30k_retrieval)|(v2)?_.*_(ft1k|ft2[12]kto1k))$/.test(
        name,
      ),
    );
    assert.deepEqual([...PUBLISHED.keys()].sort(), tuned.sort());
    for (const name of PUBLISHED.keys()) assert.equal(findWeights(name).name, `${name}.pth`);
  });

  it('are found by the path of a file, and the nearest name is told', () => {
    const results = publishedResults('weights/beit3_base_patch16_224_nlvr2.pth');
    assert.deepEqual(results, { task: 'nlvr2', splits: { val: { acc: 83.6 }, test: { acc: 84.386 } } });
    assert.throws(
      () => publishedResults('beit3_base_patch16_224_nlvr.safetensors'),
      (error) => error instanceof InputError && /such as beit3_base_patch16_224_nlvr2\.$/.test(error.message),
    );
  });

  it('may be missed by the tolerance, and by no more', () => {
    const published = { a: 50, b: 50, c: 50, d: 50 };
    const compared = compareMetrics({ a: 49.9, b: 49.89, c: 60 }, published, 0.1);
    assert.deepEqual(
      compared.map(({ ok }) => ok),
      [true, false, true, false],
    );
    assert.ok(Math.abs(compared[2].difference - 10) < 1e-12);
  });
});

/** The model in the package: what lies in beit3/zoo/emoji, and what it can do with pictures of the unseen style. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend } from '../../backends/index.js';
import { createBackend } from '../../backends/wasm/index.js';
import { TASKS } from '../../beit3/config.js';
import { nlvr2Examples, vqaExamples } from '../../beit3/emoji/benchmark/index.js';
import { type EmojiCorpus, type EmojiEntry, loadEmojiCorpus } from '../../beit3/emoji/corpus.js';
import { loadSharp } from '../../beit3/emoji/draw.js';
import { showModel, shownLines } from '../../beit3/emoji/show.js';
import { evaluateJoint, type JointScores } from '../../beit3/emoji/zoo/evaluate.js';
import { loadJointModel } from '../../beit3/emoji/zoo/load.js';
import { RECIPE } from '../../beit3/emoji/zoo/recipe.js';
import { parseLabels, shippedModel, Tokenizer } from '../../beit3/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { Generator } from '../../core/random.js';
import { beit3 } from '../cli/command.js';

const MOST_BYTES = 8 * 2 ** 20;

describe('the model in the package', () => {
  let backend: Backend;
  let corpus: EmojiCorpus;
  let folder = '';
  before(async () => {
    backend = await createBackend({ threads: 2 });
    setDefaultBackend(backend);
    corpus = await loadEmojiCorpus({ size: RECIPE.size, styles: ['twemoji', 'fxemoji'] });
    folder = await mkdtemp(join(tmpdir(), 'azulejo-shipped-'));
  });
  after(async () => {
    setDefaultBackend(null);
    await backend.dispose();
    await disposeBackend('wasm');
    await rm(folder, { recursive: true, force: true });
  });

  it('is small, and its recipe and log lie beside it', async () => {
    const { checkpoint } = await shippedModel();
    const { size } = await stat(checkpoint);
    assert.ok(size < MOST_BYTES, `${size} bytes`);
    const recipe = JSON.parse(await readFile(join(checkpoint, '..', 'recipe.json'), 'utf8'));
    for (const [name, value] of Object.entries(RECIPE)) assert.equal(recipe[name], value, name);
    const log = (await readFile(join(checkpoint, '..', 'log.jsonl'), 'utf8')).trim().split('\n');
    const last = JSON.parse(log[log.length - 1]);
    assert.equal(last.step, RECIPE.steps);
    assert.ok(last.cpuMinutes <= 90);
    assert.deepEqual(Object.keys(last.loss).sort(), [...TASKS].sort());
  });

  it('does every task on pictures of a style that it has never seen, far better than chance', async () => {
    const files = await shippedModel();
    const tokenizer = Tokenizer.fromBytes(await readFile(files.tokenizer));
    const read = async (path: string) => parseLabels(await readFile(path, 'utf8'), path);
    const classes = new Map((await read(files.classes)).map((name, i) => [name, i]));
    const answers = new Map((await read(files.answers)).map((answer, i) => [answer, i]));
    const { model, spec } = await loadJointModel(files.checkpoint, backend);
    assert.deepEqual([spec.classes, spec.answers], [classes.size, answers.size]);

    const all = corpus.ofStyle('twemoji');
    const entries = Array.from(new Generator(1).permutation(all.length).subarray(0, 300), (i) => all[i]);
    const idsOf = (text: string) => tokenizer.encode(text).ids;
    const split = {
      entries,
      questions: vqaExamples(all, { seed: 9, count: 400 }).map(({ entry, question, answer }) => ({
        entry,
        ids: idsOf(question),
        answer: answers.get(answer) as number,
      })),
      pairs: nlvr2Examples(all, { seed: 9, count: 400 }).map(({ left, right, sentence, label }) => ({
        ...{ first: left, second: right, isTrue: label },
        ids: idsOf(sentence),
      })),
    };
    const classOf = ({ subgroup }: EmojiEntry) => classes.get(subgroup);
    const scores: JointScores = await evaluateJoint({ model, corpus, tokenizer, classOf }, split);
    model.dispose();
    assert.ok(scores.retrieval.r1 > 35, `R@1 among 300: ${scores.retrieval.r1}`);
    assert.ok(scores.retrieval.textR1 > 35, `R@1 of texts: ${scores.retrieval.textR1}`);
    assert.ok(scores.captioning.exactMatch > 10, `captions: ${scores.captioning.exactMatch}`);
    assert.ok(scores.imageclassification.acc1 > 35, `acc@1: ${scores.imageclassification.acc1}`);
    assert.ok(scores.vqav2.accuracy > 55, `answers: ${scores.vqav2.accuracy}`);
    assert.ok(scores.nlvr2.accuracy > 55, `pairs: ${scores.nlvr2.accuracy}`);
  });

  it('is shown with pictures that were drawn by lot, and what is right is marked', async () => {
    const files = await shippedModel();
    const options = { device: 'wasm', threads: 2, counts: [3, 2, 2] } as const;
    const show = (seed: number) => showModel(files, corpus, { seed, ...options });
    const shown = await show(1);
    assert.deepEqual(await show(1), shown);
    assert.ok([...shown.pictures, ...shown.questions].every(({ entry }) => entry.style === 'twemoji'));
    const said = [
      ...shown.pictures.flatMap(({ caption, subgroup }) => [caption, subgroup]),
      ...shown.questions.map(({ answer }) => answer),
      ...shown.pairs.map(({ judgement }) => judgement),
    ];
    assert.equal(said.length, 3 * 2 + 2 + 2);
    const lines = shownLines(shown);
    for (const [mark, correct] of [
      ['\u2713', true],
      ['\u2717', false],
    ] as const) {
      assert.equal(lines.split(mark).length - 1, said.filter((one) => one.correct === correct).length);
    }
    for (const { entry, subgroup } of shown.pictures) assert.equal(subgroup.said === entry.subgroup, subgroup.correct);
  });

  it('answers the commands that are given no checkpoint, in words of any case, on white where pictures are clear', async () => {
    const { image, label } = corpus.ofStyle('twemoji').find((entry) => entry.label === 'red apple') as EmojiEntry;
    const white = join(folder, 'white.png');
    await writeFile(white, await corpus.png(image, 4));
    const sharp = await loadSharp();
    const { data, info } = await sharp(white).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    for (let i = 0; i < data.length; i += 4) if (data[i] + data[i + 1] + data[i + 2] === 765) data.fill(0, i, i + 4);
    const clear = join(folder, 'clear.png');
    await sharp(data, { raw: { width: info.width, height: info.height, channels: 4 } })
      .png()
      .toFile(clear);

    const note = /^No --checkpoint: the small model in the package answers, which knows emoji and nothing else\.\n$/;
    const ask = async (...args: string[]): Promise<unknown> => {
      const { code, stdout, stderr } = await beit3([...args, '--json']);
      assert.equal(code, 0, stderr);
      assert.match(stderr, note);
      return JSON.parse(stdout);
    };
    const results = (value: unknown) => (value as { results: Record<string, unknown>[] }).results;
    const [ofWhite, ofClear] = results(await ask('caption', white, clear));
    assert.equal(ofClear.text, ofWhite.text);
    assert.equal(ofClear.score, ofWhite.score);
    assert.match(String(ofWhite.text), /^[a-z].*/);
    const [{ classes }] = results(await ask('classify', white));
    assert.match((classes as { label: string }[])[0].label, /^[a-z]/);
    const { answers } = (await ask('vqa', white, 'Is this FOOD?')) as { answers: { answer: string }[] };
    assert.ok(['yes', 'no'].includes(answers[0].answer), answers[0].answer);
    const judged = (await ask('nlvr2', white, clear, 'Both pictures show the same thing.')) as { probability: number };
    assert.ok(judged.probability > 0 && judged.probability < 1);
    const [upper, lower] = await Promise.all(
      ['A Red Apple', 'a red apple'].map(async (text) => results(await ask('retrieve', text, white, clear))[0]),
    );
    assert.equal(upper.similarity, lower.similarity);
    assert.equal(label, 'red apple');
  });
});

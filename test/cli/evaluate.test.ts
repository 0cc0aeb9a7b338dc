/** `beit3 evaluate` on small data sets and models: numbers by another way, files for servers, and what it refuses. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { disposeBackend } from '../../backends/index.js';
import { pipeline } from '../../beit3/pipeline/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { Args } from '../../cli/args.js';
import { command } from '../../cli/commands/evaluate.js';
import { InputError } from '../../core/errors.js';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from '../beit3/tinyModels.js';
import { beit3 } from './command.js';

const COUNT = 7;
const TEXTS = [
  'a red panda',
  'the dog and the cat',
  'two cups on a table',
  'a bird in this tree',
  'how many people',
  'is there a cat',
  'people on the dog',
];
const CAPTIONS = TEXTS.map((text) => [text, `${text} sleeps`]);

let folder = '';
const at = (name: string): string => join(folder, name);
const images = Array.from({ length: COUNT }, (_, i) => `images/${i}.png`);

interface Report {
  readonly samples: number;
  readonly skipped: number;
  readonly key: string | null;
  readonly metrics: Record<string, number>;
  readonly notes: readonly string[];
  readonly expected: { readonly ok: boolean; readonly metrics: readonly { readonly difference: number }[] } | null;
}

const jsonl = (name: string, rows: readonly object[]) =>
  writeFile(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-evaluate-'));
  await mkdir(at('images'));
  for (const [i, path] of images.entries())
    await writePhoto(at(path), 37 * i, 200 - 20 * i, (91 * i) % 256, 60, 40 + i);
  for (const task of ['imageclassification', 'vqav2', 'nlvr2', 'captioning', 'retrieval'])
    await writeTinyCheckpoint(task, at(`${task}.safetensors`));
  const tokenizer = await Tokenizer.load(await writeTinyTokenizer(at('beit3.spm')));
  const words = TEXTS.map((text) => tokenizer.encode(text).ids);
  const rows = <R extends object>(row: (i: number) => R) => images.map((image_path, i) => ({ image_path, ...row(i) }));
  await jsonl(
    'imagenet.val.index.jsonl',
    rows((i) => ({ label: i })),
  );
  const answered = rows((i) => ({ text_segment: words[i], labels: [i, 2], scores: [0.6, 1], qid: 100 + i }));
  await jsonl('vqa.rest_val.jsonl', answered);
  await jsonl(
    'vqa.test.jsonl',
    answered.map((row) => ({ ...row, labels: [], scores: [] })),
  );
  await jsonl(
    'answer2label.txt',
    Array.from({ length: 17 }, (_, label) => ({ answer: `answer ${label}`, label })),
  );
  await jsonl(
    'nlvr2.test-P.index.jsonl',
    rows((i) => ({
      image2_path: images[(i + 1) % COUNT],
      text_segment: words[i],
      label: i % 2,
      identifier: `test1-${i >> 1}-${i & 1}-0`,
    })),
  );
  await jsonl(
    'coco_retrieval.test.jsonl',
    images.flatMap((image_path, i) => [
      { image_path, text_segment: words[i], image_id: COUNT - i },
      { image_path, text_segment: words[(i + 3) % COUNT], image_id: COUNT - i },
    ]),
  );
  const blank = rows((i) => ({ text_segment: null, image_id: 10 + i }));
  await jsonl('coco_captioning.val.jsonl', blank);
  await jsonl('coco_captioning.test.jsonl', blank);
  await jsonl('nocaps.test.jsonl', blank);
  const annotations = CAPTIONS.flatMap((texts, i) => texts.map((caption) => ({ image_id: 10 + i, caption })));
  await writeFile(at('coco_karpathy_val_gt.json'), JSON.stringify({ annotations, images: [] }));
  const sentences = CAPTIONS.map((texts, i) => ({ cocoid: 10 + i, sentences: texts.map((raw) => ({ raw })) }));
  await writeFile(at('karpathy.json'), JSON.stringify({ images: sentences }));
});

after(async () => {
  await disposeBackend('wasm');
  await rm(folder, { recursive: true, force: true });
});

const evaluate = (task: string, model: string, ...more: string[]) => [
  'evaluate',
  task,
  '--checkpoint',
  at(`${model}.safetensors`),
  '--data',
  folder,
  '--threads',
  '1',
  '--workers',
  '0',
  ...more,
];

/** Runs the command in this process, which is much faster than in one of its own. */
async function inProcess(argv: readonly string[]): Promise<{ code: number; printed: string[]; notes: string[] }> {
  const printed: string[] = [];
  const notes: string[] = [];
  const args = Args.parse('evaluate', argv.slice(1), command.flags);
  const context = {
    out: (line: string) => void printed.push(line),
    json: (value: unknown) => void printed.push(JSON.stringify(value)),
    note: (line: string) => void notes.push(line),
    progress: () => ({ update: () => {}, end: () => {} }),
    live: () => null,
    onInterrupt: () => {},
    wantsJson: args.has('json'),
    device: 'wasm',
    adapter: undefined,
    threads: 1,
  };
  return { code: (await command.run(args, context)) ?? 0, printed, notes };
}

async function run(task: string, model: string, ...more: string[]): Promise<Report> {
  const { code, printed, notes } = await inProcess([...evaluate(task, model, ...more), '--json']);
  assert.deepEqual([code, printed.length, notes], [0, 1, []]);
  return JSON.parse(printed[0]) as Report;
}

/** The command must end with an InputError of one sentence. */
async function refuse(pattern: RegExp, ...argv: string[]): Promise<void> {
  await assert.rejects(
    inProcess(argv),
    (error) => error instanceof InputError && /^[^\n]+\.$/.test(error.message) && pattern.test(error.message),
    `${argv.join(' ')}: expected ${pattern}`,
  );
}

const options = (model: string) => ({ checkpoint: at(`${model}.safetensors`), threads: 1 });

test('imagenet: what the pipeline says of each image', async () => {
  using classify = await pipeline('classify', options('imageclassification'));
  const places = await Promise.all(
    images.map(async (path, i) => {
      const classes = await classify.run(at(path), { top: 11 });
      return classes.findIndex(({ index }) => index === i);
    }),
  );
  const share = (k: number) => (100 * places.filter((place) => place < k).length) / COUNT;
  const report = await run('imagenet', 'imageclassification');
  assert.deepEqual(report.metrics, { acc1: share(1), acc5: share(5) });
  assert.ok(share(5) > 0 && share(5) < 100, 'the case tells nothing');
  assert.deepEqual([report.samples, report.skipped, report.key], [COUNT, 0, 'acc1']);
});

test('vqav2: scores, the file for the server, and ten annotators', async () => {
  const labels = Array.from({ length: 17 }, (_, i) => `answer ${i}`);
  using vqa = await pipeline('vqa', { ...options('vqav2'), labels });
  const answers: string[] = [];
  for (const [i, path] of images.entries()) answers.push((await vqa.run(at(path), TEXTS[i], { top: 1 }))[0].answer);
  const score = answers.map((answer, i) => (answer === 'answer 2' ? 1 : answer === `answer ${i}` ? 0.6 : 0));
  const mean = (values: number[]) => (100 * values.reduce((a, b) => a + b, 0)) / values.length;

  const file = at('answers.json');
  const report = await run('vqav2', 'vqav2', '--split', 'val', '--submission', file);
  assert.ok(Math.abs(report.metrics.score - mean(score)) < 1e-4);
  const wanted = answers.map((answer, i) => ({ question_id: 100 + i, answer }));
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), wanted);
  await rm(file);

  const blind = await run('vqav2', 'vqav2', '--submission', file);
  assert.deepEqual([blind.metrics, blind.key], [{}, null]);
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), wanted);

  // All agree with the first three answers, nobody with the others; the last question is not in the index.
  const annotations = [...answers, 'x'].map((answer, i) => ({
    question_id: 100 + i,
    answer_type: i < 2 ? 'yes/no' : 'other',
    answers: Array.from({ length: 10 }, (_, a) => ({ answer: i < 3 ? answer : `none ${a}` })),
  }));
  await writeFile(at('annotations.json'), JSON.stringify({ info: {}, annotations }));
  const asked = await run('vqav2', 'vqav2', '--annotations', at('annotations.json'));
  assert.deepEqual(asked.metrics, { overall: 300 / 7, 'yes/no': 100, other: 20 });
  assert.match(asked.notes[0], /7 of the 8 questions in the annotations are in the index/);
});

test('nlvr2: accuracy and consistency; --expect, and its exit code', async () => {
  using nlvr2 = await pipeline('nlvr2', options('nlvr2'));
  const right: boolean[] = [];
  for (const [i, path] of images.entries()) {
    const { answer } = await nlvr2.run(at(path), at(images[(i + 1) % COUNT]), TEXTS[i]);
    right.push(answer === (i % 2 === 1));
  }
  const consistent = [0, 2, 4, 6].filter((i) => right.slice(i, i + 2).every(Boolean)).length;
  const metrics = { acc: (100 * right.filter(Boolean).length) / COUNT, consistency: 25 * consistent };
  assert.deepEqual((await run('nlvr2', 'nlvr2')).metrics, metrics);

  const official = 'beit3_base_patch16_224_nlvr2';
  await copyFile(at('nlvr2.safetensors'), at(`${official}.safetensors`));
  // A process of its own, with a thread that loads images and must not keep it alive.
  const threaded = evaluate('nlvr2', official, '--expect').map((arg) => (arg === '0' ? '1' : arg));
  const worse = await beit3(threaded);
  assert.equal(worse.code, 1, worse.stderr);
  const difference = (metrics.acc - 84.386).toFixed(2);
  assert.ok(worse.stdout.includes(`WORSE  acc  ${metrics.acc.toFixed(2)}  84.386  ${difference}`), worse.stdout);
  const fine = await run('nlvr2', official, '--expect', '--tolerance', '100');
  assert.equal(fine.expected?.ok, true);
  const named = await run('nlvr2', 'nlvr2', `--expect=${official}.pth`, '--tolerance', '100');
  assert.ok(Math.abs((named.expected?.metrics[0].difference ?? 0) - (metrics.acc - 84.386)) < 1e-9);
});

test('retrieval: similarities of the pipeline give the same ranks; batches and threads change nothing', async () => {
  using embed = await pipeline('embed', options('retrieval'));
  const pictures = await Promise.all(images.map(async (path) => (await embed.run({ image: at(path) })).image));
  const texts = await Promise.all(TEXTS.map(async (text) => (await embed.run({ text })).text));
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, v, d) => sum + v * b[d], 0);
  // Image i has the texts i and i + 3.
  const queries = [...pictures.keys()].flatMap((i) => [texts[i], texts[(i + 3) % COUNT]]);
  const found = queries.map((text, q) => {
    const similarities = pictures.map((picture) => dot(picture, text));
    return similarities.filter((s) => s > similarities[q >> 1]).length;
  });
  const one = await run('coco_retrieval', 'retrieval', '--batch-size', '3');
  assert.ok(Math.abs(one.metrics.ir_r1 - (100 * found.filter((rank) => rank < 1).length) / 14) < 1e-9);
  assert.ok(Math.abs(one.metrics.ir_r5 - (100 * found.filter((rank) => rank < 5).length) / 14) < 1e-9);
  assert.equal(one.samples, 14);
  const other = await run('coco_retrieval', 'retrieval', '--batch-size', '14');
  assert.deepEqual(other.metrics, one.metrics);
});

test('captioning: captions of the pipeline, compared with a file of references wherever it is', async () => {
  using caption = await pipeline('caption', options('captioning'));
  const captions: string[] = [];
  for (const path of images) captions.push((await caption.run(at(path), { beams: 2, maxLength: 10 })).text);
  const search = ['--num-beams', '2', '--num-max-bpe-tokens', '10'];
  const file = at('captions.json');
  const report = await run('coco_captioning', 'captioning', '--split', 'val', '--submission', file, ...search);
  assert.deepEqual(
    JSON.parse(await readFile(file, 'utf8')),
    captions.map((text, i) => ({ image_id: 10 + i, caption: text })),
  );
  assert.equal(report.key, 'CIDEr');
  assert.match(report.notes.join(' '), /coco_karpathy_val_gt\.json.*METEOR and SPICE are left out/);
  const given = ['--annotations', at('karpathy.json'), ...search];
  assert.deepEqual((await run('coco_captioning', 'captioning', ...given)).metrics, report.metrics);
  const blind = await run('nocaps', 'captioning', '--submission', file, '--limit', '3', ...search);
  assert.deepEqual([blind.metrics, blind.samples], [{}, 3]);
  assert.match(blind.notes[0], /Only the first 3 of 7 samples/);
  assert.deepEqual((JSON.parse(await readFile(file, 'utf8')) as unknown[]).length, 3);
});

test('--reference-compatible drops the last batch and draws crops by the seed', async () => {
  const given = ['--split', 'val', '--reference-compatible', '--batch-size', '3'];
  const report = await run('vqav2', 'vqav2', ...given);
  assert.equal(report.samples, 6);
  assert.match(report.notes[0], /random crops, random order, 1 samples dropped/);
  const files = [];
  for (const seed of ['0', '0', '1']) {
    await run('vqav2', 'vqav2', ...given, '--seed', seed, '--submission', at('drawn.json'));
    files.push(await readFile(at('drawn.json'), 'utf8'));
  }
  assert.equal(files[0], files[1]);
  assert.notEqual(files[0], files[2]);
});

test('--skip-broken counts images that cannot be read; without it the first ends the evaluation', async () => {
  const data = at('broken');
  await mkdir(join(data, 'images'), { recursive: true });
  for (const path of images.slice(1)) await copyFile(at(path), join(data, path));
  await writeFile(join(data, images[0]), 'no image');
  await copyFile(at('imagenet.val.index.jsonl'), join(data, 'imagenet.val.index.jsonl'));
  const args = evaluate('imagenet', 'imageclassification').map((arg) => (arg === folder ? data : arg));
  await refuse(/row 1 of .*imagenet\.val\.index\.jsonl: .*0\.png/, ...args);
  const { code, printed, notes } = await inProcess([...args, '--skip-broken', '--json']);
  assert.equal(code, 0);
  assert.match(notes.join('|'), /^skipped row 1 of [^|]*0\.png[^|]*$/);
  const report = JSON.parse(printed[0]) as Report;
  assert.deepEqual([report.samples, report.skipped], [COUNT - 1, 1]);
});

test('what does not fit is said in one sentence, before the model is loaded', async () => {
  await writeFile(at('captions of others.json'), JSON.stringify({ annotations: [{ image_id: 10, caption: 'one' }] }));
  await mkdir(at('few'));
  await jsonl('few/vqa.rest_val.jsonl', [
    { image_path: images[0], text_segment: [5], labels: [1], scores: [1], qid: 1 },
  ]);
  await jsonlOf('few/answer2label.txt', 3);
  const cases: [RegExp, ...string[]][] = [
    [/no task "imagenette" to evaluate; the nearest is imagenet/, ...evaluate('imagenette', 'imageclassification')],
    [/needs --data/, 'evaluate', 'imagenet', '--checkpoint', at('imageclassification.safetensors')],
    [/no split "dev"/, ...evaluate('nlvr2', 'nlvr2', '--split', 'dev')],
    [/imagenet has no split "test-dev"/, ...evaluate('imagenet', 'imageclassification', '--split', 'test-dev')],
    [/it was fine-tuned for vqav2/, ...evaluate('nlvr2', 'vqav2')],
    [/There are no answers of people for the test split of vqav2/, ...evaluate('vqav2', 'vqav2')],
    [/There are no captions of people for the test split of nocaps/, ...evaluate('nocaps', 'captioning')],
    [/--submission has no meaning for nlvr2/, ...evaluate('nlvr2', 'nlvr2', '--submission', at('x.json'))],
    [/no folder .*missing/, ...evaluate('vqav2', 'vqav2', '--submission', at('missing/x.json'))],
    [
      /--reference-compatible has no meaning for the test split/,
      ...evaluate('nlvr2', 'nlvr2', '--reference-compatible'),
    ],
    [/--tolerance has no meaning without --expect/, ...evaluate('nlvr2', 'nlvr2', '--tolerance', '1')],
    [/Nothing was published of "nlvr2"; .* such as beit3_/, ...evaluate('nlvr2', 'nlvr2', '--expect')],
    [/is for vqav2, not for nlvr2/, ...evaluate('nlvr2', 'nlvr2', '--expect=beit3_base_patch16_480_vqa')],
    [
      /counted by the evaluation server/,
      ...evaluate('vqav2', 'vqav2', '--split', 'test-dev', '--expect=beit3_base_patch16_480_vqa'),
    ],
    [
      /for the split test; give --split test/,
      ...evaluate('coco_retrieval', 'retrieval', '--split', 'val', '--expect=beit3_base_patch16_384_coco_retrieval'),
    ],
    [
      /have 3 answers, but the model tells 17 apart/,
      ...evaluate('vqav2', 'vqav2', '--split', 'val', '--index', at('few')),
    ],
    [
      /has no caption of image 11, nor of 5 others of 7/,
      ...evaluate('coco_captioning', 'captioning', '--annotations', at('captions of others.json')),
    ],
    [/no "annotations"|annotations/, ...evaluate('vqav2', 'vqav2', '--annotations', at('answer2label.txt'))],
    [/no file .*none\.json/, ...evaluate('vqav2', 'vqav2', '--annotations', at('none.json'))],
    [/--expect needs a value: --expect=NAME/, ...evaluate('nlvr2', 'nlvr2', '--expect=')],
    [/whole number from 3 to 62/, ...evaluate('vqav2', 'vqav2', '--num-max-bpe-tokens', '63')],
  ];
  const before = await readdir(folder);
  for (const [pattern, ...args] of cases) await refuse(pattern, ...args);
  assert.deepEqual(await readdir(folder), before, 'a file was left');
});

const jsonlOf = (name: string, count: number) =>
  jsonl(
    name,
    Array.from({ length: count }, (_, label) => ({ answer: `answer ${label}`, label })),
  );

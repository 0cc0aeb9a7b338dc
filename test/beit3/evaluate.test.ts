import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { SIZES, TASKS, type Task } from '../../beit3/config.js';
import { defaultBatchSize } from '../../beit3/evaluate/dataSet.js';
import { type EvaluateOptions, evaluate } from '../../beit3/evaluate/index.js';
import { generate } from '../../beit3/generate.js';
import { retrievalRecall } from '../../beit3/metrics/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { CLASSES, inBatches, TINY, tinyBatch, tinyModel, tinyTokenizer } from './tinyBatches.js';

const SAMPLES = 13;

/** What a model puts out for a batch, computed without the code under test. */
async function outputs(forward: () => Tensor): Promise<Float32Array> {
  const result = noGrad(() => scope(forward));
  const values = (await result.data()) as Float32Array;
  result.dispose();
  return values;
}

const images = (b: { size: number; side: number }, values: Float32Array) =>
  tensor(values, { shape: [b.size, 3, b.side, b.side] });
const ids = (b: { size: number; ids: Int32Array }) => tensor(b.ids, { shape: [b.size, b.ids.length / b.size] });
const padding = (b: { size: number; padding: Uint8Array }) =>
  tensor(b.padding, { shape: [b.size, b.padding.length / b.size], dtype: 'bool' });

const options: Record<Task, EvaluateOptions> = {
  imageclassification: {},
  vqav2: { answers: Array.from({ length: CLASSES.vqav2 }, (_, i) => `answer ${i}`) },
  nlvr2: {},
  retrieval: {},
  captioning: { maxLength: 6, numBeams: 2 },
};

describe('evaluation', () => {
  let backend: Backend;
  before(async () => {
    backend = await useBackend('wasm', { threads: 2 });
  });
  after(() => disposeBackend('wasm'));

  it('image classification: counted by hand', async () => {
    const model = tinyModel('imageclassification');
    const batch = tinyBatch('imageclassification', SAMPLES);
    const logits = await outputs(() => model.forward(images(batch, batch.images)));
    const places = Array.from(batch.labels, (label, b) => {
      const row = Array.from(logits.subarray(b * CLASSES.imageclassification, (b + 1) * CLASSES.imageclassification));
      return row.filter((v) => v > row[label]).length;
    });
    const { metrics, key, samples } = await evaluate('imageclassification', model, inBatches(batch, 4));
    assert.equal(key, 'acc1');
    assert.equal(samples, SAMPLES);
    const share = (k: number) => (100 * places.filter((place) => place < k).length) / SAMPLES;
    assert.deepEqual(metrics, { acc1: share(1), acc5: share(5) });
    assert.ok(share(5) > share(1) && share(5) < 100, 'the case tells nothing');
    model.dispose();
  });

  it('VQA: soft accuracy, answers by question, and ten annotators', async () => {
    const model = tinyModel('vqav2');
    const batch = tinyBatch('vqav2', SAMPLES);
    const logits = await outputs(() => model.forward(images(batch, batch.images), ids(batch), padding(batch)));
    const best = Array.from({ length: SAMPLES }, (_, b) => {
      const row = Array.from(logits.subarray(b * CLASSES.vqav2, (b + 1) * CLASSES.vqav2));
      return row.indexOf(Math.max(...row));
    });
    const scores = batch.scores as Float32Array;
    const score = best.reduce((sum, answer, b) => sum + scores[b * CLASSES.vqav2 + answer], 0);
    const report = await evaluate('vqav2', model, inBatches(batch, 5), options.vqav2);
    assert.equal(report.key, 'score');
    assert.ok(Math.abs(report.metrics.score - (100 * score) / SAMPLES) < 1e-9);
    assert.deepEqual(
      report.predictions,
      best.map((answer, b) => [b, `answer ${answer}`]),
    );
    // All agree with the answers to the even questions, nobody with the others; question 999 was not asked.
    const wrong = Array.from({ length: 10 }, (_, i) => `other ${i}`);
    const annotations = [...best, 0].map((answer, b) => ({
      id: b === SAMPLES ? 999 : b,
      answers: b % 2 === 0 ? new Array<string>(10).fill(`answer ${answer}`) : wrong,
      answerType: b % 2 === 0 ? 'number' : 'other',
    }));
    const asked = await evaluate('vqav2', model, [batch], { ...options.vqav2, annotations });
    assert.equal(asked.key, 'overall');
    assert.ok(Math.abs(asked.metrics.overall - (100 * 7) / 13) < 1e-9);
    assert.deepEqual([asked.metrics.number, asked.metrics.other], [100, 0]);
    assert.deepEqual(asked.notes, ['The annotations are of 14 questions, of which 13 were asked.']);
    // A test split has no scores.
    const blind = await evaluate('vqav2', model, [{ ...batch, scores: null }], options.vqav2);
    assert.deepEqual([blind.metrics, blind.key, blind.predictions?.length], [{}, null, SAMPLES]);
    model.dispose();
  });

  it('NLVR2: accuracy, and consistency where identifiers tell which pairs share a sentence', async () => {
    const model = tinyModel('nlvr2');
    const batch = tinyBatch('nlvr2', SAMPLES);
    const logits = await outputs(() =>
      model.forward(images(batch, batch.images), images(batch, batch.images2), ids(batch), padding(batch)),
    );
    const right = Array.from(batch.labels, (label, b) => Number(logits[2 * b + 1] > logits[2 * b]) === label);
    const sentences = Array.from({ length: Math.ceil(SAMPLES / 2) }, (_, s) => right.slice(2 * s, 2 * s + 2));
    const { metrics } = await evaluate('nlvr2', model, inBatches(batch, 3));
    assert.deepEqual(metrics, {
      acc: (100 * right.filter(Boolean).length) / SAMPLES,
      consistency: (100 * sentences.filter((s) => s.every(Boolean)).length) / sentences.length,
    });
    assert.notEqual(metrics.acc, metrics.consistency);
    const named = { ...batch, identifiers: batch.identifiers.map((_, b) => `pair ${b}`) };
    const other = await evaluate('nlvr2', model, [named]);
    assert.deepEqual(other.metrics, { acc: metrics.acc });
    assert.match(other.notes[0], /^There is no consistency: Expected NLVR2 identifiers/);
    model.dispose();
  });

  it('retrieval: several texts for an image, which is read once', async () => {
    const model = tinyModel('retrieval');
    const whole = tinyBatch('retrieval', SAMPLES);
    // Images 4, 2, 0 (ids out of order) with 5, 5 and 3 texts; only the first row of each id has its picture.
    const imageIds = [4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 0, 0, 0];
    const each = whole.images.length / SAMPLES;
    // The pictures of 4 and 0 are equal: the one with the smaller id comes first.
    whole.images.copyWithin(10 * each, 0, each);
    const pictures = Float32Array.from(whole.images, (v, i) => {
      const row = Math.floor(i / each);
      return imageIds.indexOf(imageIds[row]) === row ? v : Number.NaN;
    });
    const batch = { ...whole, images: pictures, imageIds };
    const first = [10, 5, 0];
    const chosen = Float32Array.from(first.flatMap((row) => [...pictures.subarray(row * each, (row + 1) * each)]));
    const imageFeatures = await outputs(() => model.embedImage(images({ size: 3, side: batch.side }, chosen)));
    const textFeatures = await outputs(() => model.embedText(ids(batch), padding(batch)));
    const dimension = TINY.encoder_embed_dim;
    const wanted = retrievalRecall({
      imageFeatures,
      textFeatures,
      imageIds: [0, 2, 4],
      textImageIds: imageIds,
      dimension,
    });
    for (const count of [13, 4, 1]) {
      const { metrics, key, samples } = await evaluate('retrieval', model, inBatches(batch, count));
      assert.deepEqual(metrics, { ...wanted }, `batches of ${count}`);
      assert.deepEqual([key, samples], ['average_score', SAMPLES]);
    }
    model.dispose();
  });

  it('captioning: one caption an image, compared with its references', async () => {
    const model = tinyModel('captioning');
    const tokenizer = await tinyTokenizer();
    assert.equal(tokenizer.maskId, TINY.vocab_size - 1);
    const whole = tinyBatch('captioning', 4);
    const batch = { ...whole, imageIds: [7, 7, 3, 9] };
    const image = images(whole, whole.images);
    const search = { maskId: tokenizer.maskId, numBeams: 3, lengthPenalty: 0.6, maxLength: 8 };
    const written = await generate(model, image, search);
    image.dispose();
    const texts = written.map(({ ids }) => tokenizer.decode(ids.filter((id) => id > 2 && id !== tokenizer.maskId)));
    assert.equal(new Set([texts[0], texts[2], texts[3], '']).size, 4, 'the case tells nothing');
    const references = new Map([
      [3, ['nothing like it at all', texts[2]]],
      [7, [texts[0], 'another caption']],
      [9, ['quite another thing']],
      [100, ['of a picture that was not shown']],
    ]);
    const given = { tokenizer, references, maxLength: 8 };
    const report = await evaluate('captioning', model, inBatches(batch, 3), given);
    assert.deepEqual(report.predictions, [
      [7, texts[0]],
      [3, texts[2]],
      [9, texts[3]],
    ]);
    assert.equal(report.key, 'CIDEr');
    assert.ok(Math.abs(report.metrics.exact_match - 200 / 3) < 1e-9);
    assert.deepEqual(Object.keys(report.metrics).slice(0, 6), [
      'Bleu_1',
      'Bleu_2',
      'Bleu_3',
      'Bleu_4',
      'ROUGE_L',
      'CIDEr',
    ]);
    assert.match(report.notes[0], /METEOR and SPICE are left out/);
    const blind = await evaluate('captioning', model, [batch], { tokenizer, maxLength: 8 });
    assert.deepEqual([blind.metrics, blind.key, blind.predictions], [{}, null, report.predictions]);
    await assert.rejects(
      evaluate('captioning', model, [batch], { ...given, references: new Map([[7, ['one']]]) }),
      (error) => error instanceof InputError && /got none for image 3/.test(error.message),
    );
    // 64 tokens are the reference's default, but this model takes 14.
    const short = await evaluate('captioning', model, [batch], { tokenizer });
    assert.deepEqual(short, await evaluate('captioning', model, [batch], { tokenizer, maxLength: 14 }));
    model.dispose();
    const longer = tinyModel('captioning', { max_source_positions: 80 });
    const long = await evaluate('captioning', longer, [batch], { tokenizer });
    assert.deepEqual(long, await evaluate('captioning', longer, [batch], { tokenizer, maxLength: 64 }));
    assert.notDeepEqual(long, await evaluate('captioning', longer, [batch], { tokenizer, maxLength: 14 }));
    longer.dispose();
  });

  for (const task of TASKS) {
    it(`${task}: no byte stays, the mode comes back, and batches of any size give the same`, async () => {
      const live = backend.stats.liveBytes;
      // In training mode layers would be left out at random.
      const model = tinyModel(task, { drop_path_rate: 0.5 }).train();
      const batch = tinyBatch(task, 6);
      const given = task === 'captioning' ? { ...options[task], tokenizer: await tinyTokenizer() } : options[task];
      const seen: number[] = [];
      const onProgress = (samples: number) => seen.push(samples);
      const reports = [await evaluate(task, model, inBatches(batch, 4), { ...given, onProgress })];
      for (const count of [1, 6]) reports.push(await evaluate(task, model, inBatches(batch, count), given));
      assert.deepEqual(reports[1], reports[0]);
      assert.deepEqual(reports[2], reports[0]);
      assert.deepEqual(seen, [4, 6]);
      for (const [path, part] of model.modules()) assert.ok(part.training, path);
      model.dispose();
      assert.equal(backend.stats.liveBytes, live);
    });
  }

  it('stops between batches when it is told to, and lets the loader go', async () => {
    const live = backend.stats.liveBytes;
    const model = tinyModel('imageclassification');
    const stop = new AbortController();
    let isOpen = true;
    async function* loader() {
      try {
        for (const part of inBatches(tinyBatch('imageclassification', 6), 2)) {
          yield part;
          stop.abort(new Error('enough'));
        }
        assert.fail('it went on');
      } finally {
        isOpen = false;
      }
    }
    await assert.rejects(evaluate('imageclassification', model, loader(), { signal: stop.signal }), /enough/);
    assert.equal(isOpen, false);
    model.dispose();
    assert.equal(backend.stats.liveBytes, live);
  });

  it('takes as many samples at a time as large models have room for', () => {
    const at = (resolution: number) => defaultBatchSize({ ...SIZES.large, img_size: resolution });
    assert.deepEqual(
      [32, 224, 384, 480, 768, 2048].map((side) => at(side)),
      [16, 16, 7, 4, 1, 1],
    );
  });

  it('refuses what cannot be evaluated', async () => {
    const refused = async (promise: Promise<unknown>, message: RegExp) =>
      assert.rejects(promise, (error) => error instanceof InputError && message.test(error.message));
    const model = tinyModel('vqav2');
    const batch = tinyBatch('vqav2', 2);
    await refused(evaluate('vqav2', model, []), /no questions to evaluate/);
    await refused(evaluate('vqav2', model, [batch], { answers: ['yes'] }), /1 answers in the list, .* tells 8 apart/);
    await refused(evaluate('vqav2', model, [batch], { annotations: [] }), /give the list of answers/);
    const broken = { ...batch, images: batch.images.fill(Number.NaN) };
    await refused(evaluate('vqav2', model, [broken]), /not finite/);
    model.dispose();
    const writer = tinyModel('captioning');
    await refused(evaluate('captioning', writer, [tinyBatch('captioning', 2)]), /give the tokenizer/);
    writer.dispose();
  });
});

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { loadBackend } from '../../backends/index.js';
import { loadModel } from '../../beit3/checkpoint.js';
import { decodeImage, preprocessImage } from '../../beit3/images/index.js';
import { pipeline } from '../../beit3/pipeline/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { tensor } from '../../core/tensor.js';
import { fixture, inputError } from '../checkpoints/helpers.js';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from './tinyModels.js';

const device = 'reference';
let folder = '';
let backend: Backend;
const at = (name: string): string => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azulejo-pipeline-'));
  backend = await loadBackend(device);
  await writeTinyCheckpoint('imageclassification', at('classify.pth'));
  for (const name of ['vqav2', 'nlvr2', 'captioning', 'retrieval', 'encoder_fused']) {
    await writeTinyCheckpoint(name, at(`${name}.safetensors`));
  }
  await writeTinyTokenizer(at('tokenizer.spm'));
  await writePhoto(at('red.png'), 220, 30, 20);
  await writePhoto(at('blue.png'), 20, 40, 230, 30, 60);
  await writePhoto(at('green.png'), 30, 200, 40, 64, 64);
});

after(() => rm(folder, { recursive: true, force: true }));

/** Pixels of a photo as a tensor of the backend. */
async function pixels(name: string, kind: 'vl' | 'imagenet'): Promise<Float32Array> {
  return preprocessImage(await decodeImage(at(name)), kind, { size: 32 });
}

function near(got: ArrayLike<number>, want: ArrayLike<number>, tolerance = 1e-6): void {
  assert.equal(got.length, want.length);
  for (let i = 0; i < got.length; i++)
    assert.ok(Math.abs(got[i] - want[i]) <= tolerance, `${i}: got ${got[i]}, wanted ${want[i]}`);
}

describe('classify', () => {
  test('gives the probabilities of the model, ImageNet preprocessing included', async () => {
    using classify = await pipeline('classify', { checkpoint: at('classify.pth'), device });
    const found = await classify.run(at('red.png'), { top: 100 });
    assert.equal(found.length, 11);
    assert.ok(Math.abs(found.reduce((n, c) => n + c.probability, 0) - 1) < 1e-9);
    assert.ok(found.every((c, i) => i === 0 || c.probability <= found[i - 1].probability));
    assert.deepEqual(found.map((c) => c.label).sort(), Array.from({ length: 11 }, (_, i) => String(i)).sort());

    const { model } = await loadModel(at('classify.pth'), { backend, task: 'imageclassification' });
    const input = tensor(await pixels('red.png', 'imagenet'), { shape: [1, 3, 32, 32], backend });
    const logits = noGrad(() => scope(() => model.forward(input)));
    const values = Float64Array.from(await logits.data(), Math.exp);
    const sum = values.reduce((a, b) => a + b, 0);
    near(
      found.map((c) => c.probability),
      found.map((c) => values[c.index] / sum),
    );
    for (const t of [logits, input, model]) t.dispose();
  });

  test('names classes, takes every kind of source, and holds only the vision weights', async () => {
    await writeFile(at('labels.txt'), Array.from({ length: 11 }, (_, i) => `thing ${i}`).join('\n'));
    const before = backend.stats.liveBytes;
    const classify = await pipeline('classify', { checkpoint: at('classify.pth'), labels: at('labels.txt'), device });
    const bytes = await readFile(at('blue.png'));
    const want = await classify.run(at('blue.png'), { top: 2 });
    assert.equal(want.length, 2);
    assert.equal(want[0].label, `thing ${want[0].index}`);
    for (const source of [
      pathToFileURL(at('blue.png')),
      new Uint8Array(bytes),
      new Blob([bytes]),
      await decodeImage(bytes),
    ]) {
      assert.deepEqual(await classify.run(source, { top: 2 }), want);
    }
    const words = 99 * 32 * 4;
    const held = backend.stats.liveBytes - before;
    assert.ok(held < 190_000 && held > words, `${held} bytes are held`);
    classify.dispose();
    assert.equal(backend.stats.liveBytes, before);
  });

  test('repeated runs keep memory flat', async () => {
    using classify = await pipeline('classify', { checkpoint: await readFile(at('classify.pth')), device });
    await classify.run(at('red.png'));
    const { liveBytes, liveBlocks } = backend.stats;
    for (let i = 0; i < 3; i++) await classify.run(at('red.png'));
    assert.deepEqual([backend.stats.liveBytes, backend.stats.liveBlocks], [liveBytes, liveBlocks]);
  });

  test('refuses labels of another number and a checkpoint of another task, and leaves nothing behind', async () => {
    const before = backend.stats.liveBytes;
    await assert.rejects(
      pipeline('classify', { checkpoint: at('classify.pth'), labels: ['a', 'b'], device }),
      inputError(/has 2 labels, but the model tells 11 classes apart/),
    );
    await assert.rejects(
      pipeline('classify', { checkpoint: at('vqav2.safetensors'), device }),
      inputError(/fine-tuned for vqav2/),
    );
    await assert.rejects(pipeline('classify', { checkpoint: at('none.pth'), device }), inputError(/none\.pth/));
    await assert.rejects(
      pipeline('clasify' as 'classify', { checkpoint: at('classify.pth') }),
      inputError(/nearest is classify/),
    );
    assert.equal(backend.stats.liveBytes, before);
  });

  test('refuses a number of results that is none, and images that are none', async () => {
    using classify = await pipeline('classify', { checkpoint: at('classify.pth'), device });
    await assert.rejects(classify.run(at('red.png'), { top: 0 }), inputError(/whole number of 1 or more/));
    await assert.rejects(classify.run(new Uint8Array(0)), inputError(/./));
    await assert.rejects(classify.run(at('labels.txt')), inputError(/labels\.txt/));
  });
});

describe('vqa', () => {
  test('ranks answers by their own scores', async () => {
    const answers = Array.from({ length: 17 }, (_, i) => JSON.stringify({ answer: `answer ${i}`, label: i })).join(
      '\n',
    );
    using vqa = await pipeline('vqa', { checkpoint: at('vqav2.safetensors'), labels: new Blob([answers]), device });
    const found = await vqa.run(at('red.png'), 'how many cups?', { top: 17 });
    const { model } = await loadModel(at('vqav2.safetensors'), { backend, task: 'vqav2' });
    const tokenizer = await Tokenizer.load(at('tokenizer.spm'));
    const { ids } = tokenizer.encode('how many cups?', { addSpecial: true });
    const image = tensor(await pixels('red.png', 'vl'), { shape: [1, 3, 32, 32], backend });
    const text = tensor(Int32Array.from(ids), { shape: [1, ids.length], backend });
    const logits = noGrad(() => scope(() => model.forward(image, text, null)));
    const want = Array.from(await logits.data(), (v) => 1 / (1 + Math.exp(-v)));
    near(
      found.map((a) => a.score),
      found.map((a) => want[a.index]),
    );
    assert.ok(found.every((a, i) => i === 0 || a.score <= found[i - 1].score));
    assert.equal(found[0].answer, `answer ${found[0].index}`);
    for (const t of [image, text, logits, model]) t.dispose();
  });

  test('refuses texts that are empty or too long, rather than cutting them', async () => {
    using vqa = await pipeline('vqa', { checkpoint: at('vqav2.safetensors'), tokenizer: at('tokenizer.spm'), device });
    await assert.rejects(vqa.run(at('red.png'), '   '), inputError(/has no words/));
    await assert.rejects(vqa.run(at('red.png'), 'xq'.repeat(30)), inputError(/63 tokens.* at most 62; shorten it/));
    // 62 tokens are the most.
    assert.equal((await vqa.run(at('red.png'), `${'xq'.repeat(29)}x`)).length, 5);
  });
});

describe('the tokenizer', () => {
  test('must fit the word table', async () => {
    const checkpoint = at('vqav2.safetensors');
    const before = backend.stats.liveBytes;
    await assert.rejects(
      pipeline('vqa', { checkpoint, tokenizer: fixture('tokenizer.spm'), device }),
      inputError(/tokenizer\.spm does not fit the model: it has \d+ tokens, but the word table has 99 rows/),
    );
    assert.equal(backend.stats.liveBytes, before);
  });

  test('is found beside the checkpoint, or asked for', async () => {
    const other = await mkdtemp(join(tmpdir(), 'azulejo-pipeline-'));
    try {
      const checkpoint = await writeTinyCheckpoint('nlvr2', join(other, 'nlvr2.pth'));
      await assert.rejects(pipeline('nlvr2', { checkpoint, device }), inputError(/no \.spm file lies beside/));
      await writeTinyTokenizer(join(other, 'mine.spm'));
      (await pipeline('nlvr2', { checkpoint, device })).dispose();
      await writeTinyTokenizer(join(other, 'yours.spm'));
      await assert.rejects(
        pipeline('nlvr2', { checkpoint, device }),
        inputError(/mine\.spm and yours\.spm lie beside/),
      );
      await writeTinyTokenizer(join(other, 'beit3.spm'));
      (await pipeline('nlvr2', { checkpoint, device })).dispose();
      await assert.rejects(
        pipeline('nlvr2', { checkpoint: await readFile(checkpoint), device }),
        inputError(/needs a tokenizer/),
      );
    } finally {
      await rm(other, { recursive: true, force: true });
    }
  });
});

test('nlvr2 judges a sentence, and the order of the images counts', async () => {
  using nlvr2 = await pipeline('nlvr2', { checkpoint: at('nlvr2.safetensors'), device });
  const first = await nlvr2.run(at('red.png'), at('blue.png'), 'a bird');
  const second = await nlvr2.run(at('blue.png'), at('red.png'), 'a bird');
  assert.equal(first.answer, first.probability > 0.5);
  assert.ok(first.probability > 0 && first.probability < 1);
  assert.notEqual(first.probability, second.probability);
});

test('caption writes a text of the tokenizer, leaves no memory, and obeys its options', async () => {
  using caption = await pipeline('caption', { checkpoint: at('captioning.safetensors'), device });
  const { liveBytes } = backend.stats;
  const found = await caption.run(at('red.png'), { beams: 2, maxLength: 8 });
  assert.equal(backend.stats.liveBytes, liveBytes);
  assert.ok(found.ids.length <= 6 && found.ids.every((id) => id > 2 && id < 98));
  assert.equal(found.text, (await Tokenizer.load(at('tokenizer.spm'))).decode(found.ids));
  assert.ok(found.score < 0);
  assert.deepEqual(await caption.run(at('red.png'), { beams: 2, maxLength: 8 }), found);
  await assert.rejects(caption.run(at('red.png'), { maxLength: 63 }), inputError(/at most 62/));
  await assert.rejects(caption.run(at('red.png'), { beams: 0 }), inputError(/number of beams/));
  await assert.rejects(caption.run(at('red.png'), { lengthPenalty: Number.NaN }), inputError(/length penalty/));
});

test('caption leaves out of its text what the tokenizer has no word for', async () => {
  // A tokenizer of 90 pieces beside a table of 99 rows: ids 92 to 98 are rows without a word.
  await writeTinyTokenizer(at('small.model'), 90);
  using caption = await pipeline('caption', {
    checkpoint: at('captioning.safetensors'),
    tokenizer: at('small.model'),
    device,
  });
  let without = 0;
  for (const name of ['red.png', 'blue.png', 'green.png']) {
    const { ids, text } = await caption.run(at(name), { beams: 1, maxLength: 12 });
    const words = ids.filter((id) => id < 92);
    without += ids.length - words.length;
    assert.equal(text, (await Tokenizer.load(at('small.model'))).decode(words));
  }
  assert.ok(without > 0, 'no caption had such an id');
});

test('retrieve ranks images for a text and texts for an image with the same cosines', async () => {
  using retrieve = await pipeline('retrieve', { checkpoint: at('retrieval.safetensors'), device });
  using embed = await pipeline('embed', { checkpoint: at('retrieval.safetensors'), device });
  const { liveBytes } = backend.stats;
  const images = ['red.png', 'blue.png', 'green.png'].map(at);
  const found = await retrieve.run({ text: 'a red panda', images });
  assert.deepEqual(found.map((m) => m.candidate).sort(), [...images].sort());
  for (const { candidate, index, similarity } of found) {
    assert.equal(images[index], candidate);
    // Another text in the batch is longer: padding must not count.
    const [back] = (
      await retrieve.run({ image: candidate, texts: ['a red panda', 'how many people, is there a bird?'] })
    ).filter((m) => m.index === 0);
    assert.ok(Math.abs(back.similarity - similarity) < 1e-5);
    const vectors = await embed.run({ image: candidate, text: 'a red panda' });
    const dot = vectors.image.reduce((sum, v, i) => sum + v * vectors.text[i], 0);
    assert.ok(Math.abs(dot - similarity) < 1e-5);
    assert.ok(Math.abs(Math.hypot(...vectors.image) - 1) < 1e-5);
  }
  assert.equal((await retrieve.run({ text: 'a red panda', images }, { top: 1 }))[0].candidate, found[0].candidate);
  assert.equal(backend.stats.liveBytes, liveBytes);
  await assert.rejects(retrieve.run({ text: 'a cat', images: [] }), inputError(/nothing to search/));
});

test('embed reads a pair together where the checkpoint has no retrieval heads', async () => {
  using embed = await pipeline('embed', { checkpoint: at('captioning.safetensors'), device });
  const apart = { ...(await embed.run({ image: at('red.png') })), ...(await embed.run({ text: 'a cat' })) };
  const pair = await embed.run({ image: at('red.png'), text: 'a cat' });
  assert.equal(pair.image.length, 32);
  assert.equal(embed.dimension, 32);
  assert.notDeepEqual(pair.image, apart.image);
  assert.notDeepEqual(pair.text, apart.text);

  const before = backend.stats.liveBytes;
  using images = await pipeline('embed', { checkpoint: at('captioning.safetensors'), device, inputs: 'image' });
  const half = backend.stats.liveBytes - before;
  assert.deepEqual((await images.run({ image: at('red.png') })).image, apart.image);
  using both = await pipeline('embed', { checkpoint: at('captioning.safetensors'), device });
  assert.ok(half < (backend.stats.liveBytes - before - half) * 0.6, 'images alone need vision weights only');
  await assert.rejects(both.run({} as { text: string }), inputError(/nothing to embed/));
});

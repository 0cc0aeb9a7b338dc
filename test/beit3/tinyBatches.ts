/** Small models and batches of chance, for the tests of training and evaluation. */
import { normalizesOutput, parseConfig, type Task } from '../../beit3/config.js';
import type { AnyBatch, CaptioningBatch, ImageBatch, TaskBatches, TextBatch } from '../../beit3/data/batch.js';
import { createModel, type TaskModels } from '../../beit3/heads/index.js';
import { Tokenizer, trainUnigram } from '../../beit3/tokenizer/index.js';
import { Generator } from '../../core/random.js';
import { Builder } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';

export const TINY = {
  encoder_embed_dim: 32,
  encoder_attention_heads: 2,
  encoder_ffn_embed_dim: 64,
  encoder_layers: 2,
  img_size: 16,
  patch_size: 8,
  vocab_size: 30,
  max_source_positions: 16,
};
/** The last row of the word table. */
export const MASK = TINY.vocab_size - 1;
export const CLASSES: Record<Task, number> = {
  imageclassification: 8,
  vqav2: 8,
  nlvr2: 2,
  captioning: 0,
  retrieval: 0,
};

export function tinyModel<T extends Task>(task: T, extra: object = {}): TaskModels[T] & Module {
  const config = parseConfig({ ...TINY, normalize_output: normalizesOutput(task), ...extra }, 'the test');
  const spec = { task, config, numClasses: CLASSES[task] };
  const builder = new Builder({ generator: new Generator(1) });
  return createModel(builder, spec, { initialisation: 'magneto' }) as TaskModels[T] & Module;
}

/** `size` samples with pictures of noise, texts of 2 to 6 random words, and labels without reason. */
export function tinyBatch<T extends Task>(task: T, size: number, seed = 2): TaskBatches[T] {
  const random = new Generator(seed);
  const side = TINY.img_size;
  const noise = () => random.normal(size * 3 * side * side);
  const labels = Int32Array.from(random.integers(size, 0, CLASSES[task] || 2));
  const pictures: ImageBatch = {
    size,
    side,
    images: noise(),
    files: Array.from({ length: size }, (_, i) => `${i}.png`),
  };
  const counts = random.integers(size, 2, 7);
  const length = Math.max(...counts) + 2;
  const texts: TextBatch = {
    length,
    ids: new Int32Array(size * length).fill(1),
    padding: new Uint8Array(size * length).fill(1),
  };
  for (let b = 0; b < size; b++) {
    texts.ids.set([0, ...random.integers(counts[b], 3, MASK), 2], b * length);
    texts.padding.fill(0, b * length, b * length + counts[b] + 2);
  }
  const numbers = Array.from({ length: size }, (_, i) => i);
  const makers: { [K in Task]: () => TaskBatches[K] } = {
    imageclassification: () => ({ ...pictures, labels, targets: null }),
    vqav2: () => {
      const scores = new Float32Array(size * CLASSES.vqav2);
      for (let b = 0; b < size; b++) {
        scores[b * CLASSES.vqav2 + labels[b]] = 1;
        scores[b * CLASSES.vqav2 + ((labels[b] + 3) % CLASSES.vqav2)] = 0.3;
      }
      return { ...pictures, ...texts, scores, questionIds: numbers };
    },
    nlvr2: () => ({
      ...pictures,
      ...texts,
      images2: noise(),
      labels,
      identifiers: numbers.map((i) => `dev-${i >> 1}-${i & 1}-0`),
    }),
    retrieval: () => ({ ...pictures, ...texts, imageIds: numbers }),
    captioning: (): CaptioningBatch => {
      const masked = texts.ids.slice();
      // Every second word of each text.
      const predict = masked.map((_, i) => i).filter((i) => texts.ids[i] > 2 && (i % length) % 2 === 1);
      for (const i of predict) masked[i] = MASK;
      return { ...pictures, ...texts, masked, predict, targets: predict.map((i) => texts.ids[i]), imageIds: numbers };
    },
  };
  return makers[task]();
}

/** A tokenizer whose last token is the last row of the word table of the tiny models. */
export function tinyTokenizer(): Promise<Tokenizer> {
  const { bytes } = trainUnigram(['a cab', 'bad dad', 'a bead', 'cede a deed', 'dab'], {
    vocabularySize: TINY.vocab_size - 2,
    requiredCharacters: 'abcdefghijklmnopqrst',
  });
  return Tokenizer.load(bytes);
}

/** The rows of a batch one after the other, in batches of `count`. Texts keep their padding. */
export function inBatches<B extends AnyBatch>(batch: B, count: number): B[] {
  const { size } = batch;
  const parts: B[] = [];
  for (let from = 0; from < size; from += count) {
    const to = Math.min(size, from + count);
    const rows = Object.entries(batch).map(([name, value]: [string, unknown]) => {
      if (name === 'size') return [name, to - from];
      if (Array.isArray(value)) return [name, value.slice(from, to)];
      if (!ArrayBuffer.isView(value)) return [name, value];
      const all = value as Float32Array;
      return [name, all.slice((from * all.length) / size, (to * all.length) / size)];
    });
    parts.push(Object.fromEntries(rows) as unknown as B);
  }
  return parts;
}

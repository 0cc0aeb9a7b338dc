/** How well a model finds the pictures of one style from words, and words from pictures. */

import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import type { Retrieval } from '../heads/index.js';
import { type RetrievalRecall, retrievalRecall } from '../metrics/retrieval.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { plainPicture } from './augment.js';
import type { EmojiCorpus, EmojiEntry } from './corpus.js';
import { cleanText } from './text.js';

/** The labels and pictures of one style, each against all of the other kind. */
export interface EmojiSearch {
  readonly entries: readonly EmojiEntry[];
  /** `ir` finds pictures from labels, `tr` labels from pictures. */
  readonly recall: RetrievalRecall;
  /** The `count` nearest pictures for the label of entry `query`, best first, as indices of `entries`. */
  best(query: number, count: number): { readonly index: number; readonly similarity: number }[];
  /** The place, from 1, at which the right picture comes for the label of entry `query`. */
  rank(query: number): number;
}

const BATCH = 128;

/** Embeds every picture of `style` and its label, and searches in both directions. */
export async function searchStyle(
  model: Retrieval,
  corpus: EmojiCorpus,
  tokenizer: Tokenizer,
  style: string,
): Promise<EmojiSearch> {
  const entries = corpus.ofStyle(style);
  const D = model.vision_head.weight.shape[0];
  const images = new Float32Array(entries.length * D);
  const texts = new Float32Array(entries.length * D);
  for (let at = 0; at < entries.length; at += BATCH) {
    const batch = entries.slice(at, at + BATCH);
    images.set(await embedPictures(model, corpus, batch), at * D);
    texts.set(await embedLabels(model, tokenizer, batch), at * D);
  }
  const ids = entries.map((_, i) => i);
  const recall = retrievalRecall({
    imageFeatures: images,
    textFeatures: texts,
    imageIds: ids,
    textImageIds: ids,
    dimension: D,
  });
  const ranked = (query: number) =>
    ids
      .map((index) => ({ index, similarity: dot(texts, query * D, images, index * D, D) }))
      .sort((a, b) => b.similarity - a.similarity || a.index - b.index);
  return {
    entries,
    recall,
    best: (query, count) => ranked(query).slice(0, count),
    rank: (query) => ranked(query).findIndex(({ index }) => index === query) + 1,
  };
}

async function values(fn: () => Tensor): Promise<Float32Array> {
  const result = noGrad(() => scope(fn));
  const data = (await result.data()) as Float32Array;
  // The wasm backend hands out a copy, others may not.
  const copy = data.slice();
  result.dispose();
  return copy;
}

function embedPictures(model: Retrieval, corpus: EmojiCorpus, batch: readonly EmojiEntry[]): Promise<Float32Array> {
  const { backend } = model.logit_scale;
  const S = corpus.size;
  const pixels = new Float32Array(batch.length * 3 * S * S);
  batch.forEach((entry, b) => {
    plainPicture(corpus.image(entry.image), S, pixels, b * 3 * S * S);
  });
  return values(() => model.embedImage(tensor(pixels, { shape: [batch.length, 3, S, S], backend })));
}

function embedLabels(model: Retrieval, tokenizer: Tokenizer, batch: readonly EmojiEntry[]): Promise<Float32Array> {
  const { backend } = model.logit_scale;
  const labels = batch.map((entry) => cleanText(entry.label));
  const length = 2 + Math.max(...labels.map((label) => tokenizer.encode(label).ids.length));
  const { ids, paddingMask } = tokenizer.encodeBatchForModel(labels, length);
  const shape = [batch.length, length];
  return values(() =>
    model.embedText(tensor(ids, { shape, backend }), tensor(paddingMask, { shape, dtype: 'bool', backend })),
  );
}

function dot(a: Float32Array, from: number, b: Float32Array, at: number, D: number): number {
  let sum = 0;
  for (let d = 0; d < D; d++) sum += a[from + d] * b[at + d];
  return sum;
}

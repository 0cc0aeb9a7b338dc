/** What the joint model can do, task by task, on pictures in memory. */

import { keep, scope } from '../../../core/memory.js';
import { noGrad } from '../../../core/modes.js';
import { type Tensor, tensor } from '../../../core/tensor.js';
import { frameTexts } from '../../data/loader/collate.js';
import { generate } from '../../generate.js';
import { captionMetrics, retrievalRecall, topKAccuracy } from '../../metrics/index.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { plainPicture } from '../augment.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import { cleanText } from '../text.js';
import { toImageNet } from './batches.js';
import type { JointPair, JointQuestion } from './data.js';
import type { JointModel } from './model.js';

/** A part of the benchmark. */
export interface JointSplit {
  /** Pictures for retrieval, captions and classes. */
  readonly entries: readonly EmojiEntry[];
  readonly questions: readonly JointQuestion[];
  readonly pairs: readonly JointPair[];
}

/** Shares in per cent; CIDEr-D as papers print it, 1000 for captions that are all right. */
export interface JointScores {
  /** Pictures from labels, and labels from pictures. */
  readonly retrieval: { readonly r1: number; readonly r5: number; readonly textR1: number; readonly textR5: number };
  readonly captioning: { readonly exactMatch: number; readonly ciderD: number };
  readonly imageclassification: { readonly acc1: number; readonly acc5: number };
  readonly vqav2: { readonly accuracy: number };
  readonly nlvr2: { readonly accuracy: number };
}

export interface JointEvaluation {
  readonly model: Pick<JointModel, 'of'>;
  readonly corpus: EmojiCorpus;
  readonly tokenizer: Tokenizer;
  /** The number of an entry's class; entries without one are left out where classes are told. */
  readonly classOf: (entry: EmojiEntry) => number | undefined;
}

const BATCH = 64;
/** Beams and tokens of captions, those of `beit3 caption`. */
const BEAMS = 3;
const LONGEST_CAPTION = 20;

/** All five tasks on one split. */
export async function evaluateJoint(evaluation: JointEvaluation, split: JointSplit): Promise<JointScores> {
  return {
    retrieval: await retrieval(evaluation, split.entries),
    captioning: await captioning(evaluation, split.entries),
    imageclassification: await classification(evaluation, split.entries),
    vqav2: { accuracy: await questions(evaluation, split.questions) },
    nlvr2: { accuracy: await pairs(evaluation, split.pairs) },
  };
}

/** Pictures from labels and labels from pictures. */
export async function retrieval(
  { model, corpus, tokenizer }: JointEvaluation,
  entries: readonly EmojiEntry[],
): Promise<JointScores['retrieval']> {
  const own = model.of('retrieval');
  const D = own.vision_head.weight.shape[0];
  // Each label once, however many styles draw the emoji.
  const labels = [...new Set(entries.map(({ hexcode }) => hexcode))];
  const byHexcode = new Map(entries.map((entry) => [entry.hexcode, entry]));
  const emojiOf = new Map(labels.map((hexcode, i) => [hexcode, i]));
  const images = await inBatches(entries, (part) => own.embedImage(pictures(corpus, part)));
  const texts = await inBatches(labels, (part) => {
    const rows = part.map((hexcode) => tokenizer.encode(cleanText(byHexcode.get(hexcode)?.label ?? '')).ids);
    const { text, padding } = framed(rows);
    return own.embedText(text, padding);
  });
  const ids = entries.map(({ hexcode }) => emojiOf.get(hexcode) as number);
  const recall = retrievalRecall({
    imageFeatures: images,
    textFeatures: texts,
    imageIds: ids,
    textImageIds: labels.map((_, i) => i),
    dimension: D,
  });
  return { r1: recall.ir_r1, r5: recall.ir_r5, textR1: recall.tr_r1, textR5: recall.tr_r5 };
}

async function captioning(
  { model, corpus, tokenizer }: JointEvaluation,
  entries: readonly EmojiEntry[],
): Promise<JointScores['captioning']> {
  const { maskId, startId, endId, padId } = tokenizer;
  const special = new Set([maskId, startId, endId, padId]);
  const captions = new Map<number, string>();
  for (const part of parts(entries)) {
    const input = keep(pictures(corpus, part));
    try {
      const options = { numBeams: BEAMS, maxLength: LONGEST_CAPTION, maskId };
      const written = await generate(model.of('captioning'), input, options);
      written.forEach(({ ids }, b) => {
        captions.set(part[b].image, tokenizer.decode(ids.filter((id) => !special.has(id))));
      });
    } finally {
      input.dispose();
    }
  }
  const references = new Map(entries.map(({ image, label }) => [image, [cleanText(label)]]));
  const { exactMatch, ciderD } = captionMetrics(captions, references);
  return { exactMatch: 100 * exactMatch, ciderD: 100 * ciderD };
}

/** Classes of pictures. */
export async function classification(
  { model, corpus, classOf }: JointEvaluation,
  entries: readonly EmojiEntry[],
): Promise<JointScores['imageclassification']> {
  const classified = entries.flatMap((entry) => {
    const label = classOf(entry);
    return label === undefined ? [] : [{ entry, label }];
  });
  const logits = await inBatches(classified, (part) =>
    model.of('imageclassification').forward(
      pictures(
        corpus,
        part.map(({ entry }) => entry),
        true,
      ),
    ),
  );
  const labels = classified.map(({ label }) => label);
  const [acc1, acc5] = topKAccuracy(logits, labels, logits.length / labels.length);
  return { acc1, acc5 };
}

/**
 * Classes of pictures as the paper tells them (section 4.1): by the nearest of the classes' names, in the embeddings of
 * retrieval.
 */
export async function classificationByNames(
  { model, corpus, classOf, tokenizer, classes }: JointEvaluation & { readonly classes: readonly string[] },
  entries: readonly EmojiEntry[],
): Promise<JointScores['imageclassification']> {
  const own = model.of('retrieval');
  const D = own.vision_head.weight.shape[0];
  const classified = entries.filter((entry) => classOf(entry) !== undefined);
  const images = await inBatches(classified, (part) => own.embedImage(pictures(corpus, part)));
  const names = await inBatches(classes, (part) => {
    const { text, padding } = framed(part.map((name) => tokenizer.encode(cleanText(name)).ids));
    return own.embedText(text, padding);
  });
  const scores = Float32Array.from({ length: classified.length * classes.length }, (_, i) => {
    const [image, name] = [Math.floor(i / classes.length) * D, (i % classes.length) * D];
    let sum = 0;
    for (let d = 0; d < D; d++) sum += images[image + d] * names[name + d];
    return sum;
  });
  const labels = classified.map((entry) => classOf(entry) as number);
  const [acc1, acc5] = topKAccuracy(scores, labels, classes.length);
  return { acc1, acc5 };
}

async function questions({ model, corpus }: JointEvaluation, all: readonly JointQuestion[]): Promise<number> {
  const logits = await inBatches(all, (part) => {
    const images = pictures(
      corpus,
      part.map(({ entry }) => entry),
    );
    const { text, padding } = framed(part.map(({ ids }) => ids));
    return model.of('vqav2').forward(images, text, padding);
  });
  return topKAccuracy(
    logits,
    all.map(({ answer }) => answer),
    logits.length / all.length,
    [1],
  )[0];
}

async function pairs({ model, corpus }: JointEvaluation, all: readonly JointPair[]): Promise<number> {
  const logits = await inBatches(all, (part) => {
    const first = pictures(
      corpus,
      part.map((pair) => pair.first),
    );
    const second = pictures(
      corpus,
      part.map((pair) => pair.second),
    );
    const { text, padding } = framed(part.map(({ ids }) => ids));
    return model.of('nlvr2').forward(first, second, text, padding);
  });
  return topKAccuracy(
    logits,
    all.map(({ isTrue }) => (isTrue ? 1 : 0)),
    2,
    [1],
  )[0];
}

function* parts<Item>(items: readonly Item[]): Iterable<readonly Item[]> {
  for (let at = 0; at < items.length; at += BATCH) yield items.slice(at, at + BATCH);
}

/** The rows that `fn` computes for each part of the items, one below the other. */
async function inBatches<Item>(items: readonly Item[], fn: (part: readonly Item[]) => Tensor): Promise<Float32Array> {
  const rows: Float32Array[] = [];
  for (const part of parts(items)) {
    const result = noGrad(() => scope(() => fn(part)));
    rows.push(((await result.data()) as Float32Array).slice());
    result.dispose();
  }
  const all = new Float32Array(rows.reduce((n, row) => n + row.length, 0));
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  return all;
}

function pictures(corpus: EmojiCorpus, entries: readonly EmojiEntry[], imageNet = false): Tensor {
  const S = corpus.size;
  const values = new Float32Array(entries.length * 3 * S * S);
  entries.forEach(({ image }, b) => {
    plainPicture(corpus.image(image), S, values, b * 3 * S * S);
  });
  if (imageNet) toImageNet(values, S);
  return tensor(values, { shape: [entries.length, 3, S, S] });
}

/** Texts as the model takes them, as tensors. */
function framed(texts: readonly (readonly number[])[]): { text: Tensor; padding: Tensor } {
  const { ids, padding, length } = frameTexts(texts);
  const shape = [texts.length, length];
  return { text: tensor(ids, { shape }), padding: tensor(padding, { shape, dtype: 'bool' }) };
}

/** Samples of a task with their pixels, put together into batches. */

import { InputError } from '../../../core/errors.js';
import type { Generator } from '../../../core/random.js';
import type { Task } from '../../config.js';
import { sourceName } from '../../readBytes.js';
import type { ImageBatch, TaskBatches, TextBatch } from '../batch.js';
import type { TaskSamples, Tokens, Vocabulary } from '../dataSet.js';
import { maskWords } from './masking.js';
import { isDecoded } from './pictures.js';

/** `<s>`, `<pad>` and `</s>` of every BEiT-3 tokenizer. */
const [START, PAD, END] = [0, 1, 2];
const CHANNELS = 3;

/** A sample whose pictures are loaded. */
export interface Loaded<T extends Task> {
  readonly sample: TaskSamples[T];
  /** Where it comes from, for pictures without a name. */
  readonly where: string;
  readonly pixels: readonly Float32Array[];
  /** The chance of its masks. */
  readonly random: Generator;
}

export interface CollateOptions {
  /** Tokens in a row, whatever the longest text; a longer one is refused. */
  readonly padTo?: number;
  readonly maskProbability: number;
  readonly classes: number;
  readonly vocabulary: Vocabulary | null;
}

/** Task -> what makes a batch of at least one sample. */
export const COLLATE: {
  readonly [T in Task]: (loaded: readonly Loaded<T>[], options: CollateOptions) => TaskBatches[T];
} = {
  imageclassification: (loaded) => ({
    ...imagesOf(loaded),
    labels: Int32Array.from(loaded, ({ sample }) => sample.label),
    targets: null,
  }),
  vqav2: (loaded, options) => ({
    ...imagesOf(loaded),
    ...frameTexts(
      loaded.map(({ sample }) => sample.tokens),
      options.padTo,
    ),
    scores: scoresOf(loaded, options.classes),
    questionIds: loaded.map(({ sample }) => sample.questionId),
  }),
  nlvr2: (loaded, options) => ({
    ...imagesOf(loaded),
    images2: stack(loaded, 1),
    ...frameTexts(
      loaded.map(({ sample }) => sample.tokens),
      options.padTo,
    ),
    labels: Int32Array.from(loaded, ({ sample }) => sample.label),
    identifiers: loaded.map(({ sample }) => sample.identifier),
  }),
  retrieval: (loaded, options) => ({
    ...imagesOf(loaded),
    ...frameTexts(
      loaded.map(({ sample }) => sample.tokens),
      options.padTo,
    ),
    imageIds: loaded.map(({ sample }) => sample.imageId),
  }),
  captioning: (loaded, options) => ({
    ...imagesOf(loaded),
    ...captionsOf(loaded, options),
    imageIds: loaded.map(({ sample }) => sample.imageId),
  }),
};

function imagesOf(loaded: readonly Loaded<Task>[]): ImageBatch {
  return {
    size: loaded.length,
    side: Math.sqrt(loaded[0].pixels[0].length / CHANNELS),
    images: stack(loaded, 0),
    files: loaded.flatMap(({ sample, where }) =>
      sample.pictures.map((picture) => (isDecoded(picture) ? where : sourceName(picture, where))),
    ),
  };
}

function stack(loaded: readonly Loaded<Task>[], which: number): Float32Array {
  const { length } = loaded[0].pixels[which];
  const out = new Float32Array(loaded.length * length);
  loaded.forEach(({ pixels }, i) => {
    out.set(pixels[which], i * length);
  });
  return out;
}

/**
 * Texts as the model takes them: `<s>` words `</s>`, filled up to the longest or to `padTo`. Padding is masked
 * everywhere, so its length changes no result. Throws InputError for a text longer than `padTo`.
 */
export function frameTexts(texts: readonly Tokens[], padTo?: number): TextBatch {
  const longest = texts.reduce((most, text) => Math.max(most, text.length + 2), 0);
  const length = padTo ?? longest;
  if (longest > length) throw new InputError(`A text has ${longest} tokens, more than the ${length} to pad to.`);
  const ids = new Int32Array(texts.length * length).fill(PAD);
  const padding = new Uint8Array(ids.length).fill(1);
  texts.forEach((text, row) => {
    const at = row * length;
    ids[at] = START;
    ids.set(text, at + 1);
    ids[at + 1 + text.length] = END;
    padding.fill(0, at, at + text.length + 2);
  });
  return { ids, padding, length };
}

function scoresOf(loaded: readonly Loaded<'vqav2'>[], answers: number): Float32Array | null {
  if (loaded[0].sample.answers === null) return null;
  const out = new Float32Array(loaded.length * answers);
  loaded.forEach(({ sample }, row) => {
    const { labels, scores } = sample.answers ?? { labels: [], scores: [] };
    for (let i = 0; i < labels.length; i++) out[row * answers + labels[i]] = scores[i];
  });
  return out;
}

function captionsOf(
  loaded: readonly Loaded<'captioning'>[],
  { padTo, maskProbability, vocabulary }: CollateOptions,
): TextBatch & Pick<TaskBatches['captioning'], 'masked' | 'predict' | 'targets'> {
  const none = new Int32Array(0);
  const texts = loaded.flatMap(({ sample: { tokens } }) => (tokens === null ? [] : [tokens]));
  // Captions that are to be written have no words to predict, and one of them decides for its batch.
  if (texts.length < loaded.length)
    return { ids: none, padding: new Uint8Array(0), length: 0, masked: none, predict: none, targets: none };
  if (vocabulary === null) throw new InputError('Masking captions needs the tokenizer; give a .spm file.');
  const framed = frameTexts(texts, padTo);
  const masked = framed.ids.slice();
  const predict: number[] = [];
  loaded.forEach(({ random }, row) => {
    const at = row * framed.length;
    const places = maskWords(masked.subarray(at, at + texts[row].length + 2), maskProbability, vocabulary, random);
    for (const place of places) predict.push(at + place);
  });
  const targets = Int32Array.from(predict, (place) => framed.ids[place]);
  return { ...framed, masked, predict: Int32Array.from(predict), targets };
}

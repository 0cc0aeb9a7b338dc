/** Batches of masked pictures, texts and pairs out of streams. */

import type { Generator } from '../../core/random.js';
import type { Vocabulary } from '../data/dataSet.js';
import { frameTexts } from '../data/loader/collate.js';
import { BERT_RULE, type MaskRule, maskWords } from '../data/loader/masking.js';
import { generatorOf } from '../data/loader/random.js';
import { BatchQueue, drawn, type PictureOptions, StreamedPictures, stacked } from '../data/stream/queue.js';
import type { ImageSample, PairSample, SampleStream, TextSample } from '../data/stream/stream.js';
import type { TransformSpec } from '../data/transforms/index.js';
import type { MaskedImages, MaskedTexts, PretrainBatch } from './batch.js';
import { blockMask } from './masks.js';

/** The streams of a run and how many samples of each a step has; null for a kind that is not trained on. */
export interface PretrainStreams {
  readonly images: { readonly stream: SampleStream<ImageSample>; readonly size: number } | null;
  readonly texts: { readonly stream: SampleStream<TextSample>; readonly size: number } | null;
  readonly pairs: { readonly stream: SampleStream<PairSample>; readonly size: number } | null;
}

export interface PatchMasking {
  /** Patches along a side, of which `hiddenPatches` are hidden in blocks of at least `leastBlock`. */
  readonly grid: number;
  readonly hiddenPatches: number;
  readonly leastBlock?: number;
}

export interface MaskSettings extends PatchMasking {
  /** Shares of the tokens that are predicted, in texts and in the texts of pairs. */
  readonly textShare: number;
  readonly pairShare: number;
  readonly rule?: MaskRule;
  readonly vocabulary: Vocabulary;
}

export interface PretrainLoaderOptions extends Omit<PictureOptions, 'transform'>, MaskSettings {
  readonly imageTransform: TransformSpec;
  readonly pairTransform: TransformSpec;
  readonly prefetch?: number;
}

interface Drawn {
  readonly images: readonly ImageSample[];
  readonly texts: readonly TextSample[];
  readonly pairs: readonly PairSample[];
}

/** The transform of pretraining: a crop of at least a share of the area, mirrored or not, its colours jittered. */
export function pretrainingTransform(size: number, leastCrop: number, colorJitter = 0.4): TransformSpec {
  return {
    size,
    pipeline: 'vl',
    steps: [
      ...(colorJitter > 0 ? [{ name: 'colorJitter', strength: colorJitter } as const] : []),
      { name: 'randomResizedCrop', scale: [leastCrop, 1], ratio: [3 / 4, 4 / 3], interpolation: 'bicubic' },
      { name: 'randomMirror', probability: 0.5 },
    ],
    erase: null,
  };
}

/** Batches for masked data modelling; every one is a function of the settings, its number and the samples of the streams. */
export function pretrainBatches(
  { images, texts, pairs }: PretrainStreams,
  options: PretrainLoaderOptions,
): BatchQueue<Drawn, PretrainBatch> {
  const { seed, rank = 0, worldSize = 1, prefetch } = options;
  const alone = new StreamedPictures({ ...options, transform: options.imageTransform });
  // Other numbers than those of the pictures alone.
  const paired = new StreamedPictures({ ...options, transform: options.pairTransform, seed: seed + 1 });
  const streams = Object.entries({ images, texts, pairs }).flatMap(([name, kind]) =>
    kind ? [[name, kind.stream as SampleStream<unknown>] as const] : [],
  );
  return new BatchQueue<Drawn, PretrainBatch>(
    Object.fromEntries(streams),
    {
      draw: async () => ({
        images: images ? await drawn(images.stream, images.size) : [],
        texts: texts ? await drawn(texts.stream, texts.size) : [],
        pairs: pairs ? await drawn(pairs.stream, pairs.size) : [],
      }),
      make: async (samples, index) => {
        const random = generatorOf(seed, 'mask', 0, index * worldSize + rank);
        const [single, both] = await Promise.all([
          images ? alone.load(samples.images, index) : null,
          pairs ? paired.load(samples.pairs, index) : null,
        ]);
        return {
          images: single && maskedImages(single, samples.images, options, random),
          texts: texts && maskedTexts(samples.texts, options.textShare, options, random),
          pairs: both && {
            images: maskedImages(both, samples.pairs, options, random),
            texts: maskedTexts(
              Array.from(both.from, (i) => samples.pairs[i]),
              options.pairShare,
              options,
              random,
            ),
          },
        };
      },
      close: async () => {
        await alone.close();
        await paired.close();
      },
    },
    { prefetch },
  );
}

/** The pictures that were loaded of samples, with hidden patches. */
export function maskedImages(
  { pixels, from }: { readonly pixels: readonly Float32Array[]; readonly from: Int32Array },
  samples: readonly ImageSample[],
  { grid, hiddenPatches: count, leastBlock: least }: PatchMasking,
  random: Generator,
): MaskedImages {
  const patches = grid * grid;
  const masked = new Uint8Array(pixels.length * patches);
  for (let b = 0; b < pixels.length; b++) masked.set(blockMask({ grid, count, least }, random), b * patches);
  return {
    size: pixels.length,
    side: Math.sqrt(pixels[0].length / 3),
    images: stacked(pixels),
    masked,
    predictPatches: Int32Array.from([...masked.keys()].filter((i) => masked[i] === 1)),
    files: Array.from(from, (i) => samples[i].where),
  };
}

/** Texts as the model takes them, with tokens to predict. */
export function maskedTexts(
  samples: readonly Pick<TextSample, 'tokens'>[],
  share: number,
  { vocabulary, rule = BERT_RULE }: Pick<MaskSettings, 'vocabulary' | 'rule'>,
  random: Generator,
): MaskedTexts {
  const { ids, padding, length } = frameTexts(samples.map(({ tokens }) => tokens));
  const whole = ids.slice();
  const predict: number[] = [];
  samples.forEach(({ tokens }, b) => {
    const at = b * length;
    const places = maskWords(ids.subarray(at, at + tokens.length + 2), share, vocabulary, random, rule);
    for (const place of places) predict.push(at + place);
  });
  const targets = Int32Array.from(predict, (at) => whole[at]);
  return { size: samples.length, length, ids, padding, predictTokens: Int32Array.from(predict), targets };
}

/** Losses of masked data modelling. */
import { backward } from '../../autograd/backward.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { add, affine, argmax, cast, equal, gatherRows, mean, reshape } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { crossEntropy } from '../../nn/losses.js';
import type { ImageTokenizer } from '../vqkd/imageTokenizer.js';
import type { MaskedImages, MaskedTexts, PretrainBatch } from './batch.js';
import type { Pretraining } from './model.js';

/** What is predicted: patches of pictures, tokens of texts, and both in pairs. */
export const LOSSES = ['image', 'text', 'pairImage', 'pairText'] as const;
export type LossName = (typeof LOSSES)[number];

/** Factors on the losses; the paper names none, so that 1 each is meant. */
export type LossWeights = Readonly<Record<LossName, number>>;
export const EQUAL_WEIGHTS: LossWeights = { image: 1, text: 1, pairImage: 1, pairText: 1 };

/** A loss and the share of right predictions; scalars that the caller frees. */
export interface MaskedLoss {
  readonly loss: Tensor;
  readonly accuracy: Tensor;
}

export type MaskedLosses = Partial<Record<LossName, MaskedLoss>>;

/** A kind of data of a batch: what it has of both, and under which names their losses go. */
export interface MaskedKind {
  readonly images: MaskedImages | null;
  readonly texts: MaskedTexts | null;
  readonly names: { readonly patches: LossName; readonly tokens: LossName };
}

/** The kinds of data that a batch has: pictures, texts, pairs. */
export function kindsOf({ images, texts, pairs }: PretrainBatch): readonly MaskedKind[] {
  const alone = { patches: 'image', tokens: 'text' } as const;
  return [
    ...(images ? [{ images, texts: null, names: alone }] : []),
    ...(texts ? [{ images: null, texts, names: alone }] : []),
    ...(pairs ? [{ ...pairs, names: { patches: 'pairImage', tokens: 'pairText' } as const }] : []),
  ];
}

/** The losses of a kind, to be differentiated by `backward` of their weighted sum. */
export function lossesOf(
  model: Pretraining,
  tokenizer: ImageTokenizer,
  { images, texts, names }: MaskedKind,
): MaskedLosses {
  const { patches, tokens } = model.forward(images, texts);
  return {
    ...(patches && images ? { [names.patches]: compared(patches, codesOf(tokenizer, images, patches)) } : {}),
    ...(tokens && texts ? { [names.tokens]: compared(tokens, wordsOf(texts, tokens)) } : {}),
  };
}

/** The scalar that is differentiated. */
export function weightedSum(losses: MaskedLosses, weights: LossWeights): Tensor {
  const parts = Object.entries(losses).map(([name, { loss }]) => affine(loss, weights[name as LossName], 0));
  return parts.reduce(add);
}

/**
 * Runs the kinds of data of a batch one after the other, so that activations are held of one at a time, and adds the
 * gradients of the weighted sum of their losses to those of the parameters. Only in `backwards: false` no gradient is made.
 */
export function maskedLosses(
  model: Pretraining,
  tokenizer: ImageTokenizer,
  batch: PretrainBatch,
  { weights = EQUAL_WEIGHTS, backwards = true }: { readonly weights?: LossWeights; readonly backwards?: boolean } = {},
): MaskedLosses {
  const found: MaskedLosses = {};
  for (const kind of kindsOf(batch)) {
    const made = scope(() => {
      const losses = backwards ? lossesOf(model, tokenizer, kind) : noGrad(() => lossesOf(model, tokenizer, kind));
      if (backwards) backward(weightedSum(losses, weights));
      return Object.fromEntries(
        Object.entries(losses).map(([name, { loss, accuracy }]) => [
          name,
          { loss: loss.detach(), accuracy: accuracy.detach() },
        ]),
      );
    });
    Object.assign(found, made);
  }
  return found;
}

/** Cross entropy of logits [N, C] and int32 targets [N], and the share of right ones. */
export function compared(logits: Tensor, targets: Tensor): MaskedLoss {
  const accuracy = noGrad(() => mean(cast(equal(argmax(logits.detach(), 1), targets), 'float32')));
  return { loss: crossEntropy(logits, targets), accuracy };
}

/** The codes int32 [hidden patches] of what is hidden; the tokenizer sees the whole pictures. */
export function codesOf(tokenizer: ImageTokenizer, images: MaskedImages, like: Tensor): Tensor {
  const { backend } = like;
  const { size, side } = images;
  return noGrad(() =>
    scope(() => {
      const pixels = fresh(() => tensor(images.images, { shape: [size, 3, side, side], backend }));
      const places = fresh(() => tensor(images.predictPatches, { backend }));
      return gatherRows(reshape(tokenizer.encode(pixels), [-1]), places);
    }),
  );
}

function wordsOf(texts: MaskedTexts, like: Tensor): Tensor {
  return fresh(() => tensor(texts.targets, { backend: like.backend }));
}

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
  const kinds: readonly (readonly [MaskedImages | null, MaskedTexts | null, LossName, LossName])[] = [
    [batch.images, null, 'image', 'text'],
    [null, batch.texts, 'image', 'text'],
    [batch.pairs?.images ?? null, batch.pairs?.texts ?? null, 'pairImage', 'pairText'],
  ];
  for (const [images, texts, imageName, textName] of kinds) {
    if (!images && !texts) continue;
    const made = scope(() => {
      const run = () => {
        const logits = model.forward(images, texts);
        const patches =
          logits.patches && images ? compared(logits.patches, codesOf(tokenizer, images, logits.patches)) : null;
        const tokens = logits.tokens && texts ? compared(logits.tokens, wordsOf(texts, logits.tokens)) : null;
        return { patches, tokens };
      };
      const { patches, tokens } = backwards ? run() : noGrad(run);
      if (backwards) {
        const parts = [
          ...(patches ? [affine(patches.loss, weights[imageName], 0)] : []),
          ...(tokens ? [affine(tokens.loss, weights[textName], 0)] : []),
        ];
        backward(parts.reduce(add));
      }
      const part = (p: MaskedLoss | null) => p && { loss: p.loss.detach(), accuracy: p.accuracy.detach() };
      return { patches: part(patches), tokens: part(tokens) };
    });
    if (made.patches) found[imageName] = made.patches;
    if (made.tokens) found[textName] = made.tokens;
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

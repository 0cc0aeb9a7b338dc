/**
 * Contrastive gradients of batches that do not fit in memory (gradient caching; Gao et al. 2021, arXiv:2101.06983): every
 * pair is compared with every other one, but activations are held of one chunk of pairs at a time.
 */
import { backward } from '../../autograd/backward.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import {
  add,
  arange,
  argmax,
  cast,
  cat,
  equal,
  exp,
  matmul,
  mean,
  mul,
  slice,
  sum,
  transpose,
} from '../../core/ops/index.js';
import { defaultGenerator, type GeneratorState } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { contrastiveLoss } from '../../nn/losses.js';
import type { RetrievalBatch } from '../data/batch.js';
import type { Retrieval } from '../heads/index.js';
import { backendOf, imagesOf, paddingOf, textOf } from '../tasks/inputs.js';

/** What is told of a batch besides its gradients; scalars that the caller frees. */
export interface ContrastiveResult {
  readonly loss: Tensor;
  /** Share of the pictures that find their own text among those of the batch. */
  readonly accuracy: Tensor;
}

interface Features {
  readonly image: Tensor;
  readonly text: Tensor;
}

/**
 * Adds to the parameters' gradients those of the contrastive loss of all pairs of `chunks` together. Features are computed
 * without a graph, the loss is differentiated down to them, then each chunk is run again, with the random numbers that it
 * had, and takes its part of that gradient on. The price is one more forward pass; one chunk alone is run as usual.
 */
export function cachedContrastiveGradients(model: Retrieval, chunks: readonly RetrievalBatch[]): ContrastiveResult {
  if (chunks.length === 1) {
    return scope(() => {
      const features = featuresOf(model, chunks[0]);
      const loss = contrastiveLoss(features.image, features.text, exp(model.logit_scale));
      backward(loss);
      return { loss: loss.detach(), accuracy: accuracyOf(features) };
    });
  }
  const generator = defaultGenerator();
  const states: GeneratorState[] = [];
  return scope(() => {
    const parts = chunks.map((chunk) => {
      states.push(generator.state());
      return scope(() => noGrad(() => featuresOf(model, chunk)));
    });
    const leaf = (name: keyof Features): Tensor =>
      cat(
        parts.map((part) => part[name]),
        0,
      )
        .detach()
        .requireGrad();
    const all: Features = { image: leaf('image'), text: leaf('text') };
    const loss = contrastiveLoss(all.image, all.text, exp(model.logit_scale));
    backward(loss);
    const after = generator.state();
    try {
      let row = 0;
      for (const [i, chunk] of chunks.entries()) {
        generator.restore(states[i]);
        const [from, to] = [row, row + chunk.size];
        row = to;
        scope(() => {
          const again = featuresOf(model, chunk);
          const share = (name: keyof Features): Tensor =>
            sum(mul(again[name], slice(all[name].grad as Tensor, 0, from, to)));
          backward(add(share('image'), share('text')));
        });
      }
    } finally {
      generator.restore(after);
    }
    const result = { loss: loss.detach(), accuracy: accuracyOf(all) };
    for (const { grad } of [all.image, all.text]) grad?.dispose();
    return result;
  });
}

function featuresOf(model: Retrieval, batch: RetrievalBatch): Features {
  const backend = backendOf(model);
  return {
    image: model.embedImage(imagesOf(batch, backend)),
    text: model.embedText(textOf(batch, model), paddingOf(batch, backend)),
  };
}

function accuracyOf({ image, text }: Features): Tensor {
  return noGrad(() =>
    scope(() => {
      const found = argmax(matmul(image.detach(), transpose(text.detach(), 0, 1)), 1);
      const own = arange(0, found.shape[0], 1, { dtype: 'int32', backend: image.backend });
      return mean(cast(equal(found, own), 'float32'));
    }),
  );
}

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
import { nextTurn } from '../../core/runtime.js';
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
 * The backend is waited for after each chunk, so that no more than one lies there.
 */
export async function cachedContrastiveGradients(
  model: Retrieval,
  chunks: readonly RetrievalBatch[],
): Promise<ContrastiveResult> {
  if (chunks.length === 1) {
    return scope(() => {
      const features = featuresOf(model, chunks[0]);
      const loss = lossOf(model, features);
      backward(loss);
      return { loss: loss.detach(), accuracy: accuracyOf(features) };
    });
  }
  const backend = backendOf(model);
  const generator = defaultGenerator();
  const states: GeneratorState[] = [];
  const parts: Features[] = [];
  let all: Features | null = null;
  const pause = async (): Promise<void> => {
    await backend.sync();
    await nextTurn();
  };
  try {
    for (const chunk of chunks) {
      states.push(generator.state());
      parts.push(scope(() => noGrad(() => featuresOf(model, chunk))));
      await pause();
    }
    const { image, text } = (all = { image: leafOf(parts, 'image'), text: leafOf(parts, 'text') });
    const result = scope(() => {
      const loss = lossOf(model, { image, text });
      backward(loss);
      return { loss: loss.detach(), accuracy: accuracyOf({ image, text }) };
    });
    const after = generator.state();
    let row = 0;
    for (const [i, chunk] of chunks.entries()) {
      generator.restore(states[i]);
      const [from, to] = [row, row + chunk.size];
      row = to;
      scope(() => {
        const again = featuresOf(model, chunk);
        const share = (now: Tensor, whole: Tensor): Tensor => sum(mul(now, slice(whole.grad as Tensor, 0, from, to)));
        backward(add(share(again.image, image), share(again.text, text)));
      });
      await pause();
    }
    generator.restore(after);
    return result;
  } finally {
    for (const features of all ? [...parts, all] : parts) for (const t of [features.image, features.text]) t.dispose();
  }
}

/** The features of all chunks, to which the loss is differentiated. */
function leafOf(parts: readonly Features[], name: keyof Features): Tensor {
  return scope(() => {
    const rows = parts.map((part) => part[name]);
    return cat(rows, 0).detach().requireGrad();
  });
}

function lossOf(model: Retrieval, { image, text }: Features): Tensor {
  return contrastiveLoss(image, text, exp(model.logit_scale));
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

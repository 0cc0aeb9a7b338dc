/** Batches as tensors on the backend that holds a model; in a captured step, replays take the arrays of the batch of then. */
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import type { Module } from '../../nn/module.js';
import type { ImageBatch, TextBatch } from '../data/batch.js';
import type { Beit3 } from '../model/beit3.js';

const CHANNELS = 3;

/** The backend that holds a model's weights. */
export function backendOf(model: Module): Backend {
  for (const [, parameter] of model.namedParameters()) return parameter.backend;
  throw new TypeError('backendOf expected a model with parameters.');
}

/** float32 [B, 3, S, S]; `values` are the second pictures of pairs, the first ones by default. */
export function imagesOf(batch: ImageBatch, backend: Backend, values: () => Float32Array = () => batch.images): Tensor {
  return fresh(() => tensor(values(), { shape: [batch.size, CHANNELS, batch.side, batch.side], backend }));
}

/**
 * int32 [B, T]; `values` are masked texts, those of the batch by default. Throws InputError for a token that the model does
 * not have.
 */
export function textOf(
  batch: ImageBatch & TextBatch,
  model: Module & { readonly beit3: Beit3 },
  values: () => Int32Array = () => batch.ids,
): Tensor {
  const words = model.beit3.text_embed?.weight.shape[0] ?? 0;
  return fresh(() => {
    const ids = values();
    const stray = ids.find((id) => id < 0 || id >= words);
    if (stray !== undefined) {
      throw new InputError(
        `A text has the token ${stray}, but the model knows those from 0 to ${words - 1}; make the index with the tokenizer of the model.`,
      );
    }
    return tensor(ids, { shape: [batch.size, batch.length], backend: backendOf(model) });
  });
}

/** bool [B, T], null when nothing is padded. */
export function paddingOf(batch: ImageBatch & TextBatch, backend: Backend): Tensor | null {
  if (!batch.padding.includes(1)) return null;
  return fresh(() => tensor(batch.padding, { shape: [batch.size, batch.length], dtype: 'bool', backend }));
}

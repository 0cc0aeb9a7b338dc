import { gatherRows, reshape, select, slice } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { Beit3, type Cache } from '../model/beit3.js';
import { HEAD_INIT, type HeadOptions, type ModelSpec } from './head.js';

/** What a hidden position adds to a score; the reference uses this number, not infinity. */
const HIDDEN = -1e8;

/**
 * Captioning: masked words are predicted from the image and the words to their left; to write, a [MASK] after the
 * words so far is filled again and again.
 */
export class Captioning extends Module {
  readonly beit3: Beit3;
  readonly mlm_head: Linear;

  constructor(b: Builder, { config }: ModelSpec, { initialisation, backbone }: HeadOptions = {}) {
    super();
    this.beit3 = backbone ?? new Beit3(b.at('beit3'), config, { initialisation });
    this.mlm_head = new Linear(b.at('mlm_head'), config.encoder_embed_dim, config.vocab_size, HEAD_INIT);
  }

  /**
   * Images [B, C, S, S], texts [B, T] with masked words, padding [B, T] -> logits [N, words] of the positions listed in
   * `predict` (int32 [N], position b * T + t).
   */
  forward(image: Tensor, text: Tensor, padding: Tensor | null, predict: Tensor): Tensor {
    const T = text.shape[1];
    const images = this.beit3.visionLength;
    const { hidden } = this.beit3.forward({ image, text, padding, attentionBias: this.#mask(T, 0, images + T, image) });
    const words = slice(hidden, 1, images);
    return this.mlm_head.forward(gatherRows(reshape(words, [-1, words.shape[2]]), predict));
  }

  /**
   * Decoding: logits [B, words] of the last position of texts [B, T] that continue what `cache` holds; the first call
   * brings the image. `length` is the length of the text so far, with this call's tokens.
   */
  decode(image: Tensor | null, text: Tensor, length: number, cache: Cache): Tensor {
    const images = this.beit3.visionLength;
    const [B, T] = text.shape;
    const shared = cache[0].image;
    const { hidden } = this.beit3.forward({
      image,
      text,
      cache,
      attentionBias: shared
        ? this.#asideMask(B / shared.key.shape[0], T, length, text)
        : this.#mask(length, image ? 0 : images + length - T, images + length, text),
      // Positions count from 2, so that the first of the T new tokens has row 2 + (length - T).
      textStart: 2 + length - T,
    });
    return this.mlm_head.forward(select(hidden, 1, hidden.shape[1] - 1));
  }

  /** Rows `from`..`to` of the mask [L, L]: images see images; text sees images and the text before it. */
  #mask(T: number, from: number, to: number, like: Tensor): Tensor {
    const images = this.beit3.visionLength;
    const L = images + T;
    const values = new Float32Array((to - from) * L);
    for (let row = from; row < to; row++) {
      const visible = row < images ? images : row + 1;
      values.fill(HIDDEN, (row - from) * L + visible, (row - from + 1) * L);
    }
    return tensor(values, { shape: [to - from, L], backend: like.backend });
  }

  /** The mask [rows T, images + rows length] for texts of one image side by side, each with its last T positions as queries. */
  #asideMask(rows: number, T: number, length: number, like: Tensor): Tensor {
    const images = this.beit3.visionLength;
    const L = images + rows * length;
    const values = new Float32Array(rows * T * L).fill(HIDDEN);
    for (let query = 0; query < rows * T; query++) {
      const own = query * L + images + Math.floor(query / T) * length;
      values.fill(0, query * L, query * L + images);
      values.fill(0, own, own + length - T + (query % T) + 1);
    }
    return tensor(values, { shape: [rows * T, L], backend: like.backend });
  }
}

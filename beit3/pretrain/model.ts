import { OpError } from '../../core/errors.js';
import { gatherRows, reshape } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import type { Builder } from '../../nn/builder.js';
import { Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import type { Beit3Config } from '../config.js';
import { Beit3 } from '../model/beit3.js';
import { type Initialisation, linearInit } from '../model/initialisation.js';
import type { MaskedImages, MaskedTexts } from './batch.js';

export interface PretrainingOptions {
  /** Codes of the visual tokenizer; the official models have 8192. */
  readonly codes: number;
  readonly initialisation?: Initialisation;
  /** A backbone of the same config; by default the model makes its own. */
  readonly backbone?: Beit3;
}

/** Scores of what was hidden; null for what the input lacks. */
export interface MaskedLogits {
  /** [hidden patches, codes]. */
  readonly patches: Tensor | null;
  /** [hidden tokens, words]. */
  readonly tokens: Tensor | null;
}

/**
 * BEiT-3 as it is pretrained: one backbone and two untied heads, for the words and for the codes of what is hidden in
 * pictures, texts and pairs (Wang et al. 2023, arXiv:2208.10442). Fields have the official names.
 */
export class Pretraining extends Module {
  readonly beit3: Beit3;
  readonly mlm_head: Linear;
  readonly mim_head: Linear;

  constructor(b: Builder, config: Beit3Config, { codes, initialisation = 'official', backbone }: PretrainingOptions) {
    super();
    const init = linearInit(initialisation, 'head', config);
    this.beit3 = backbone ?? new Beit3(b.at('beit3'), config, { initialisation });
    this.mlm_head = new Linear(b.at('mlm_head'), config.encoder_embed_dim, config.vocab_size, init);
    this.mim_head = new Linear(b.at('mim_head'), config.encoder_embed_dim, codes, init);
  }

  /** Pictures, texts, or pairs of both. Only the hidden positions go through the heads. */
  forward(images: MaskedImages | null, texts: MaskedTexts | null): MaskedLogits {
    const { backend } = this.mlm_head.weight;
    if (!images && !texts) throw new OpError('pretraining', 'expected pictures, texts or both, got neither');
    const patches = this.beit3.visionLength - 1;
    const image =
      images && fresh(() => tensor(images.images, { shape: [images.size, 3, images.side, images.side], backend }));
    const maskedPatches =
      images && fresh(() => tensor(images.masked, { shape: [images.size, patches], dtype: 'bool', backend }));
    const shape = texts ? [texts.size, texts.length] : [];
    const text = texts && fresh(() => tensor(texts.ids, { shape, backend }));
    const padding = texts?.padding.includes(1)
      ? fresh(() => tensor(texts.padding, { shape, dtype: 'bool', backend }))
      : null;
    const { hidden } = this.beit3.forward({ image, maskedPatches, text, padding });
    const [, L, D] = hidden.shape;
    const rows = reshape(hidden, [-1, D]);
    /** Rows of places that count `each` a sample and begin at `from` in the whole sequence. */
    const chosen = (places: () => Int32Array, each: number, from: number): Tensor => {
      const at = fresh(() =>
        tensor(
          places().map((place) => Math.floor(place / each) * L + from + (place % each)),
          { backend },
        ),
      );
      return gatherRows(rows, at);
    };
    const words = images ? patches + 1 : 0;
    return {
      patches: images && this.mim_head.forward(chosen(() => images.predictPatches, patches, 1)),
      tokens: texts && this.mlm_head.forward(chosen(() => texts.predictTokens, texts.length, words)),
    };
  }
}

import { exp, normalize, select } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder, Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { Linear } from '../../nn/layers.js';
import { contrastiveLoss } from '../../nn/losses.js';
import { Module } from '../../nn/module.js';
import { Beit3 } from '../model/beit3.js';
import { HEAD_INIT, type HeadOptions, type ModelSpec } from './head.js';

/** Dual encoder: images and texts are read apart and meet as unit vectors; their dot product is the similarity. */
export class Retrieval extends Module {
  readonly beit3: Beit3;
  readonly language_head: Linear;
  readonly vision_head: Linear;
  /** ln of the factor on similarities in the loss; starts at ln(1 / 0.07). */
  readonly logit_scale: Parameter;

  constructor(b: Builder, { config }: ModelSpec, { initialisation, backbone }: HeadOptions = {}) {
    super();
    const D = config.encoder_embed_dim;
    this.beit3 = backbone ?? new Beit3(b.at('beit3'), config, { initialisation });
    this.language_head = new Linear(b.at('language_head'), D, D, { ...HEAD_INIT, bias: false });
    this.vision_head = new Linear(b.at('vision_head'), D, D, { ...HEAD_INIT, bias: false });
    this.logit_scale = b.at('logit_scale').parameter([], init.constant(Math.log(1 / 0.07)));
  }

  /** Images [B, C, S, S] -> unit vectors [B, D]. */
  embedImage(image: Tensor): Tensor {
    const { hidden } = this.beit3.forward({ image });
    return normalize(this.vision_head.forward(select(hidden, 1, 0)));
  }

  /** Texts [B, T] with padding [B, T] -> unit vectors [B, D]. */
  embedText(text: Tensor, padding: Tensor | null): Tensor {
    const { hidden } = this.beit3.forward({ text, padding });
    return normalize(this.language_head.forward(select(hidden, 1, 0)));
  }

  /** The symmetric contrastive loss of B pairs: every other text of the batch is wrong for an image, and vice versa. */
  forward(image: Tensor, text: Tensor, padding: Tensor | null): { loss: Tensor; image: Tensor; text: Tensor } {
    const imageFeatures = this.embedImage(image);
    const textFeatures = this.embedText(text, padding);
    return {
      loss: contrastiveLoss(imageFeatures, textFeatures, exp(this.logit_scale)),
      image: imageFeatures,
      text: textFeatures,
    };
  }
}

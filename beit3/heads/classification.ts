import { mean, slice } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { Beit3 } from '../model/beit3.js';
import { type HeadOptions, type ModelSpec, TINY_INIT } from './head.js';

/** Any model that classifies pictures: a BEiT-3 or the ViT of BEiT and BEiT v2. */
export interface ImageClassifier extends Module {
  /** Images [B, C, S, S] -> logits [B, classes]. */
  forward(image: Tensor): Tensor;
}

/** Image classification: the mean of the patch outputs, normalised, through one linear layer. Needs vision weights only. */
export class ImageClassification extends Module implements ImageClassifier {
  readonly beit3: Beit3;
  readonly fc_norm: LayerNorm;
  readonly head: Linear;

  constructor(b: Builder, { config, numClasses }: ModelSpec, { all, initialisation, backbone }: HeadOptions = {}) {
    super();
    this.beit3 =
      backbone ?? new Beit3(b.at('beit3'), config, { branches: { A: true, B: all ?? false }, initialisation });
    this.fc_norm = new LayerNorm(b.at('fc_norm'), config.encoder_embed_dim);
    this.head = new Linear(b.at('head'), config.encoder_embed_dim, numClasses, TINY_INIT);
  }

  /** Images [B, C, S, S] -> logits [B, classes]. */
  forward(image: Tensor): Tensor {
    const { hidden } = this.beit3.forward({ image });
    return this.head.forward(this.fc_norm.forward(mean(slice(hidden, 1, 1), 1)));
  }
}

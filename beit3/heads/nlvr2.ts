import { cat, gelu, select, slice } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { Beit3 } from '../model/beit3.js';
import { type HeadOptions, type ModelSpec, TINY_INIT } from './head.js';

class TwoLayerMLP extends Module {
  readonly norm1: LayerNorm;
  readonly dense1: Linear;
  readonly norm2: LayerNorm;
  readonly dense2: Linear;

  constructor(b: Builder, inFeatures: number, hidden: number, outFeatures: number) {
    super();
    this.norm1 = new LayerNorm(b.at('norm1'), inFeatures);
    this.dense1 = new Linear(b.at('dense1'), inFeatures, hidden, TINY_INIT);
    this.norm2 = new LayerNorm(b.at('norm2'), hidden);
    this.dense2 = new Linear(b.at('dense2'), hidden, outFeatures, TINY_INIT);
  }

  forward(x: Tensor): Tensor {
    return this.dense2.forward(gelu(this.norm2.forward(this.dense1.forward(this.norm1.forward(x)))));
  }
}

/** NLVR2: is a sentence true of two images? Each image is read with the sentence; the four summaries are joined. */
export class VisualReasoning extends Module {
  readonly beit3: Beit3;
  readonly head: TwoLayerMLP;

  constructor(b: Builder, { config, numClasses }: ModelSpec, { initialisation, backbone }: HeadOptions = {}) {
    super();
    const D = config.encoder_embed_dim;
    this.beit3 = backbone ?? new Beit3(b.at('beit3'), config, { initialisation });
    this.head = new TwoLayerMLP(b.at('head'), 4 * D, 2 * D, numClasses);
  }

  /** Two images [B, C, S, S] each, sentences [B, T] with padding [B, T] -> logits [B, 2] (false, true). */
  forward(imageA: Tensor, imageB: Tensor, text: Tensor, padding: Tensor | null): Tensor {
    const B = text.shape[0];
    const { hidden, split } = this.beit3.forward({
      image: cat([imageA, imageB], 0),
      text: cat([text, text], 0),
      padding: padding && cat([padding, padding], 0),
    });
    const summary = cat([select(hidden, 1, 0), select(hidden, 1, split)], -1);
    return this.head.forward(cat([slice(summary, 0, 0, B), slice(summary, 0, B)], -1));
  }
}

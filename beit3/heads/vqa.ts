import { select, tanh } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { GELU, LayerNorm, Linear, Sequential } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { Beit3 } from '../model/beit3.js';
import { HEAD_INIT, type HeadOptions, type ModelSpec } from './head.js';

/** LayerNorm, linear and tanh over the first position. */
class Pooler extends Module {
  readonly norm: LayerNorm;
  readonly dense: Linear;

  constructor(b: Builder, features: number) {
    super();
    this.norm = new LayerNorm(b.at('norm'), features);
    this.dense = new Linear(b.at('dense'), features, features, HEAD_INIT);
  }

  forward(hidden: Tensor): Tensor {
    return tanh(this.dense.forward(this.norm.forward(select(hidden, 1, 0))));
  }
}

/** Visual question answering as classification over a list of answers. */
export class VisualQuestionAnswering extends Module {
  readonly beit3: Beit3;
  readonly pooler: Pooler;
  readonly head: Sequential;

  constructor(b: Builder, { config, numClasses }: ModelSpec, { initialisation, backbone }: HeadOptions = {}) {
    super();
    const D = config.encoder_embed_dim;
    this.beit3 = backbone ?? new Beit3(b.at('beit3'), config, { initialisation });
    this.pooler = new Pooler(b.at('pooler'), D);
    const h = b.at('head');
    this.head = new Sequential(
      new Linear(h.at(0), D, 2 * D, HEAD_INIT),
      new LayerNorm(h.at(1), 2 * D),
      new GELU(),
      new Linear(h.at(3), 2 * D, numClasses, HEAD_INIT),
    );
  }

  /** Images [B, C, S, S], questions [B, T] with padding [B, T] -> logits [B, answers]. */
  forward(image: Tensor, text: Tensor, padding: Tensor | null): Tensor {
    const { hidden } = this.beit3.forward({ image, text, padding });
    return this.head.forward(this.pooler.forward(hidden));
  }
}

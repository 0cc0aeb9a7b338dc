import { cat, gatherRows, reshape, slice } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder, Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { LayerNorm, Linear } from '../../nn/layers.js';
import { Block, PRETRAINING_INIT } from './block.js';
import type { ViTConfig } from './config.js';
import { ViTTrunk } from './visionTransformer.js';

export interface MaskedImageModelOptions {
  /** Codes of the visual tokenizer. */
  readonly codes: number;
  /**
   * Pretraining of [CLS] (BEiT v2, section 3.3): after `earlyLayers` layers the patches wait, and `headLayers` more layers
   * predict the codes from them and the final [CLS]. None for BEiT.
   */
  readonly aggregation?: {
    readonly earlyLayers: number;
    readonly headLayers: number;
    /** Whether both predictions use one norm and head, as the official models do. */
    readonly sharedHead: boolean;
  };
}

/** Logits [N, codes] of the hidden patches: of the last layer, and by way of [CLS] where that is trained. */
export interface MaskedImageLogits {
  readonly logits: Tensor;
  readonly clsLogits: Tensor | null;
}

/** Masked image modelling: the codes of hidden patches are predicted. Fields have the names of the BEiT v2 code. */
export class MaskedImageModel extends ViTTrunk {
  readonly mask_token: Parameter;
  readonly norm: LayerNorm;
  readonly lm_head: Linear;
  readonly cls_pt_layers: readonly Block[];
  readonly cls_pt_norm: LayerNorm | null;
  readonly cls_pt_lm_head: Linear | null;
  readonly #earlyLayers: number;

  constructor(b: Builder, config: ViTConfig, { codes, aggregation }: MaskedImageModelOptions) {
    super(b, config, PRETRAINING_INIT, PRETRAINING_INIT);
    const { embed_dim: D, layer_norm_eps, depth, drop_path_rate } = config;
    const head = (name: string) => new Linear(b.at(name), D, codes, { weight: PRETRAINING_INIT, biasInit: init.zeros });
    this.mask_token = b.at('mask_token').parameter([1, 1, D], PRETRAINING_INIT);
    this.norm = new LayerNorm(b.at('norm'), D, layer_norm_eps);
    this.lm_head = head('lm_head');
    const { earlyLayers = 0, headLayers = 0, sharedHead = true } = aggregation ?? {};
    const last = Math.max(1, Math.max(depth, earlyLayers + headLayers) - 1);
    const layers = b.at('cls_pt_layers');
    this.cls_pt_layers = Array.from({ length: headLayers }, (_, i) => {
      const layer = earlyLayers + i;
      return new Block(layers.at(i), config, layer + 1, (drop_path_rate * layer) / last);
    });
    this.cls_pt_norm = sharedHead ? null : new LayerNorm(b.at('cls_pt_norm'), D, layer_norm_eps);
    this.cls_pt_lm_head = sharedHead ? null : head('cls_pt_lm_head');
    this.#earlyLayers = earlyLayers;
  }

  /**
   * Images [B, C, S, S] with hidden patches `masked` (bool [B, N]) -> logits of the patches listed in `predict`
   * (int32, b * N + n).
   */
  forward(image: Tensor, masked: Tensor, predict: Tensor): MaskedImageLogits {
    const x = this.embed(image, masked, this.mask_token);
    const context = this.context(x);
    let early: Tensor | null = null;
    const last = this.run(x, context, this.blocks, (y, i) => {
      if (i + 1 === this.#earlyLayers) early = y;
    });
    const chosen = (hidden: Tensor): Tensor => gatherRows(reshape(slice(hidden, 1, 1), [-1, hidden.shape[2]]), predict);
    const logits = this.lm_head.forward(chosen(this.norm.forward(last)));
    if (this.cls_pt_layers.length === 0 || early === null) return { logits, clsLogits: null };
    const joined = cat([slice(last, 1, 0, 1), slice(early, 1, 1)], 1);
    const aggregated = (this.cls_pt_norm ?? this.norm).forward(this.run(joined, context, this.cls_pt_layers));
    return { logits, clsLogits: (this.cls_pt_lm_head ?? this.lm_head).forward(chosen(aggregated)) };
  }
}

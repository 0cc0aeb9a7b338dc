import {
  add,
  affine,
  attention,
  cat,
  maskedFill,
  matmul,
  permute,
  reshape,
  softmax,
  transpose,
} from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { DropPath, LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import type { Beit3Config } from '../config.js';
import { type Initialisation, type LinearRole, linearInit } from './initialisation.js';
import {
  type Branches,
  forwardLinear,
  forwardNorm,
  Multiway,
  MultiwayLayerNorm,
  MultiwayLinear,
  SharedLayerNorm,
  SharedLinear,
} from './multiway.js';

/** What every layer of one forward pass shares. */
export interface Context {
  /** Positions before it are vision, the others language; -1 all vision, 0 all language. */
  readonly split: number;
  /** [B, L], 1 = padding, or null. */
  readonly keyPadding: Tensor | null;
  /** Added to the scaled scores, broadcast to [B, H, Lq, Lk], or null. */
  readonly bias: Tensor | null;
}

/** Keys and values of positions. */
export interface KeysAndValues {
  key: Tensor;
  value: Tensor;
}

/** Those of earlier positions, [B, L, H, d] each; a layer replaces them by longer ones. */
export interface LayerCache extends KeysAndValues {
  /** Those of the images, [N, I, H, d] each, which come before: B / N rows at a time see one image, held once. */
  readonly image?: Readonly<KeysAndValues>;
}

/** What layers are made with. */
export interface LayerOptions {
  readonly branches: Branches;
  readonly initialisation: Initialisation;
}

class MultiheadAttention extends Module {
  readonly k_proj: MultiwayLinear | SharedLinear;
  readonly v_proj: MultiwayLinear | SharedLinear;
  readonly q_proj: MultiwayLinear | SharedLinear;
  readonly out_proj: MultiwayLinear | SharedLinear;
  readonly inner_attn_ln: MultiwayLayerNorm | SharedLayerNorm;
  readonly #heads: number;

  constructor(b: Builder, config: Beit3Config, layer: number, { branches, initialisation }: LayerOptions) {
    super();
    const { encoder_embed_dim: D, shared_attention: isShared } = config;
    const project = (name: string, role: LinearRole) => {
      const init = linearInit(initialisation, role, config, layer);
      if (isShared) return new SharedLinear(b.at(name), D, D, init);
      return new MultiwayLinear(b.at(name), branches, (at) => new Linear(at, D, D, init));
    };
    this.k_proj = project('k_proj', 'key');
    this.v_proj = project('v_proj', 'value');
    this.q_proj = project('q_proj', 'query');
    this.out_proj = project('out_proj', 'output');
    const norm = b.at('inner_attn_ln');
    this.inner_attn_ln = isShared
      ? new SharedLayerNorm(norm, D, config.layernorm_eps)
      : new MultiwayLayerNorm(norm, branches, D, config.layernorm_eps);
    this.#heads = config.encoder_attention_heads;
  }

  /** x [B, L, D] -> [B, L, D]; with a cache, x are new positions after the cached ones. */
  forward(x: Tensor, context: Context, cache: LayerCache | null, residual: Tensor | null): Tensor {
    const [B, L, D] = x.shape;
    const { split, keyPadding, bias } = context;
    const heads = (t: Tensor) => reshape(t, [B, L, this.#heads, D / this.#heads]);
    let q = heads(this.q_proj.forward(x, split));
    let k = heads(this.k_proj.forward(x, split));
    let v = heads(this.v_proj.forward(x, split));
    if (cache) {
      k = cache.key.shape[1] > 0 ? cat([cache.key, k], 1) : k;
      v = cache.value.shape[1] > 0 ? cat([cache.value, v], 1) : v;
      cache.key = k;
      cache.value = v;
      if (cache.image) {
        // Rows of one image stand side by side behind it; the bias hides from each what is another's.
        const N = cache.image.key.shape[0];
        const aside = (t: Tensor) => reshape(t, [N, -1, ...t.shape.slice(2)]);
        q = aside(q);
        k = cat([cache.image.key, aside(k)], 1);
        v = cat([cache.image.value, aside(v)], 1);
      }
    }
    const o = reshape(attention(q, k, v, { keyPadding, bias }), [B, L, D]);
    return this.out_proj.forward(this.inner_attn_ln.forward(o, split), split, { residual });
  }

  /** Where positions x [B, L, D] look: rows of probabilities [B, H, L, L]. */
  probabilities(x: Tensor, { split, keyPadding, bias }: Context): Tensor {
    const [B, L, D] = x.shape;
    const heads = (t: Tensor) => permute(reshape(t, [B, L, this.#heads, D / this.#heads]), [0, 2, 1, 3]);
    const [q, k] = [this.q_proj, this.k_proj].map((projection) => heads(projection.forward(x, split)));
    let scores = affine(matmul(q, transpose(k, 2, 3)), (D / this.#heads) ** -0.5, 0);
    if (bias) scores = add(scores, bias);
    if (keyPadding) scores = maskedFill(scores, reshape(keyPadding, [B, 1, 1, L]), Number.NEGATIVE_INFINITY);
    return softmax(scores, 3);
  }
}

class FeedForward extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly ffn_layernorm: LayerNorm;

  constructor(b: Builder, config: Beit3Config, layer: number, initialisation: Initialisation) {
    super();
    const { encoder_embed_dim: D, encoder_ffn_embed_dim: hidden } = config;
    this.fc1 = new Linear(b.at('fc1'), D, hidden, linearInit(initialisation, 'ffn', config, layer));
    this.fc2 = new Linear(b.at('fc2'), hidden, D, linearInit(initialisation, 'ffn output', config, layer));
    this.ffn_layernorm = new LayerNorm(b.at('ffn_layernorm'), hidden, config.layernorm_eps);
  }

  forward(x: Tensor, residual: Tensor | null): Tensor {
    return this.fc2.forward(this.ffn_layernorm.forward(this.fc1.forward(x, { activation: 'gelu' })), { residual });
  }
}

class MultiwayFeedForward extends Multiway<FeedForward> {
  /** The expert of the topmost layers, for pictures and texts that are read together (VLMo; Bao et al. 2022). */
  readonly VL: FeedForward | null;

  constructor(b: Builder, branches: Branches, hasExpert: boolean, make: (b: Builder) => FeedForward) {
    super(b, branches, make);
    this.VL = hasExpert && branches.A && branches.B ? make(b.at('VL')) : null;
  }

  forward(x: Tensor, split: number, residual: Tensor | null): Tensor {
    if (this.VL && split > 0 && split < x.shape[1]) return this.VL.forward(x, residual);
    const pick = <M>(of: (f: FeedForward) => M) => ({ A: this.A && of(this.A), B: this.B && of(this.B) });
    const hidden = forwardLinear(
      pick((f) => f.fc1),
      x,
      split,
      { activation: 'gelu' },
    );
    const normed = forwardNorm(
      pick((f) => f.ffn_layernorm),
      hidden,
      split,
    );
    return forwardLinear(
      pick((f) => f.fc2),
      normed,
      split,
      { residual },
    );
  }
}

/** One Magneto block: x + attention(LN(x)), then x + ffn(LN(x)), with LayerNorms inside both (sub-LN). */
export class EncoderLayer extends Module {
  readonly self_attn: MultiheadAttention;
  readonly self_attn_layer_norm: MultiwayLayerNorm;
  readonly ffn: MultiwayFeedForward;
  readonly final_layer_norm: MultiwayLayerNorm;
  readonly drop_path: DropPath;

  constructor(b: Builder, config: Beit3Config, depth: number, options: LayerOptions) {
    super();
    const { branches, initialisation } = options;
    const D = config.encoder_embed_dim;
    const layer = depth + 1;
    const hasExpert = depth >= config.encoder_layers - config.vl_expert_layers;
    this.self_attn = new MultiheadAttention(b.at('self_attn'), config, layer, options);
    this.self_attn_layer_norm = new MultiwayLayerNorm(b.at('self_attn_layer_norm'), branches, D, config.layernorm_eps);
    const make = (at: Builder) => new FeedForward(at, config, layer, initialisation);
    this.ffn = new MultiwayFeedForward(b.at('ffn'), branches, hasExpert, make);
    this.final_layer_norm = new MultiwayLayerNorm(b.at('final_layer_norm'), branches, D, config.layernorm_eps);
    const last = Math.max(1, config.encoder_layers - 1);
    this.drop_path = new DropPath((config.drop_path_rate * depth) / last);
  }

  forward(x: Tensor, context: Context, cache: LayerCache | null = null): Tensor {
    const { split } = context;
    const y = this.#residual(x, (residual) =>
      this.self_attn.forward(this.self_attn_layer_norm.forward(x, split), context, cache, residual),
    );
    return this.#residual(y, (residual) => this.ffn.forward(this.final_layer_norm.forward(y, split), split, residual));
  }

  /** What the attention of this layer sees for its input x [B, L, D]: probabilities [B, H, L, L]. */
  probabilities(x: Tensor, context: Context): Tensor {
    return this.self_attn.probabilities(this.self_attn_layer_norm.forward(x, context.split), context);
  }

  /** x + drop_path(f(x)); without drop path the sum is part of the last kernel of f. */
  #residual(x: Tensor, f: (residual: Tensor | null) => Tensor): Tensor {
    return this.drop_path.active ? add(x, this.drop_path.forward(f(null))) : f(x);
  }
}

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
import { type Branches, forwardLinear, forwardNorm, Multiway, MultiwayLayerNorm, MultiwayLinear } from './multiway.js';

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
  readonly k_proj: MultiwayLinear;
  readonly v_proj: MultiwayLinear;
  readonly q_proj: MultiwayLinear;
  readonly out_proj: MultiwayLinear;
  readonly inner_attn_ln: MultiwayLayerNorm;
  readonly #heads: number;

  constructor(b: Builder, config: Beit3Config, { branches, initialisation }: LayerOptions) {
    super();
    const D = config.encoder_embed_dim;
    const project = (name: string, role: LinearRole) =>
      new MultiwayLinear(b.at(name), branches, (at) => new Linear(at, D, D, linearInit(initialisation, role, config)));
    this.k_proj = project('k_proj', 'key');
    this.v_proj = project('v_proj', 'value');
    this.q_proj = project('q_proj', 'query');
    this.out_proj = project('out_proj', 'output');
    this.inner_attn_ln = new MultiwayLayerNorm(b.at('inner_attn_ln'), branches, D, config.layernorm_eps);
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

  constructor(b: Builder, config: Beit3Config, initialisation: Initialisation) {
    super();
    const init = linearInit(initialisation, 'ffn', config);
    this.fc1 = new Linear(b.at('fc1'), config.encoder_embed_dim, config.encoder_ffn_embed_dim, init);
    this.fc2 = new Linear(b.at('fc2'), config.encoder_ffn_embed_dim, config.encoder_embed_dim, init);
    this.ffn_layernorm = new LayerNorm(b.at('ffn_layernorm'), config.encoder_ffn_embed_dim, config.layernorm_eps);
  }
}

class MultiwayFeedForward extends Multiway<FeedForward> {
  forward(x: Tensor, split: number, residual: Tensor | null): Tensor {
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
    this.self_attn = new MultiheadAttention(b.at('self_attn'), config, options);
    this.self_attn_layer_norm = new MultiwayLayerNorm(b.at('self_attn_layer_norm'), branches, D, config.layernorm_eps);
    this.ffn = new MultiwayFeedForward(b.at('ffn'), branches, (at) => new FeedForward(at, config, initialisation));
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

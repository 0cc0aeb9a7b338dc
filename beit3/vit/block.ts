import {
  add,
  affine,
  attention,
  cat,
  linear,
  matmul,
  mul,
  permute,
  reshape,
  select,
  softmax,
  transpose,
  zeros,
} from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder, Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { DropPath, LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { gridOf, type ViTConfig } from './config.js';
import { distanceCount, positionBias } from './relativePositions.js';

/** What all layers of one pass share. */
export interface PassContext {
  /** Scores of all layers gain it, [H, N, N]; null without shared relative positions. */
  readonly bias: Tensor | null;
  /** Index [N * N] into the table of each layer; null where layers have none. */
  readonly index: Tensor | null;
}

/** How fresh weights are drawn: normal with standard deviation 0.02, cut at one deviation, as BEiT is pretrained. */
export const PRETRAINING_INIT = init.truncatedNormal(0.02);

/** Output matrices of layer l (from 1) are divided by sqrt(2 l). */
function outputInit(weight: init.Initializer, layer: number): init.Initializer {
  return init.scaled(weight, 1 / Math.sqrt(2 * layer));
}

class Attention extends Module {
  readonly qkv: Projection;
  readonly q_bias: Parameter | null;
  readonly v_bias: Parameter | null;
  readonly relative_position_bias_table: Parameter | null;
  readonly proj: Linear;
  readonly #heads: number;

  constructor(b: Builder, config: ViTConfig, layer: number, weight: init.Initializer) {
    super();
    const { embed_dim: D, num_heads: H, qkv_bias, use_rel_pos_bias } = config;
    const bias = (name: string) => (qkv_bias === 'split' ? b.at(name).parameter([D], init.zeros) : null);
    this.q_bias = bias('q_bias');
    this.v_bias = bias('v_bias');
    this.relative_position_bias_table = use_rel_pos_bias
      ? b.at('relative_position_bias_table').parameter([distanceCount(gridOf(config)), H], init.zeros)
      : null;
    this.qkv = new Projection(b.at('qkv'), D, qkv_bias === 'whole', weight);
    this.proj = new Linear(b.at('proj'), D, D, { weight: outputInit(weight, layer), biasInit: init.zeros });
    this.#heads = H;
  }

  /** x [B, N, D] -> queries, keys and values [B, N, H, d]. */
  #project(x: Tensor): readonly [q: Tensor, k: Tensor, v: Tensor] {
    const [B, N, D] = x.shape;
    const { q_bias, v_bias } = this;
    // Keys have no bias: softmax would not see it.
    const bias =
      q_bias && v_bias ? cat([q_bias, zeros([D], { backend: x.backend, dtype: q_bias.dtype }), v_bias], 0) : null;
    const all = reshape(this.qkv.project(x, bias), [B, N, 3, this.#heads, D / this.#heads]);
    return [select(all, 2, 0), select(all, 2, 1), select(all, 2, 2)];
  }

  #bias({ bias, index }: PassContext): Tensor | null {
    const table = this.relative_position_bias_table;
    const own = table && index ? positionBias(table, index) : null;
    return own && bias ? add(own, bias) : (own ?? bias);
  }

  forward(x: Tensor, context: PassContext): Tensor {
    const [q, k, v] = this.#project(x);
    return this.proj.forward(reshape(attention(q, k, v, { bias: this.#bias(context) }), x.shape));
  }

  /** Where positions look: rows of probabilities [B, H, N, N]. */
  probabilities(x: Tensor, context: PassContext): Tensor {
    const [q, k] = this.#project(x).map((t) => permute(t, [0, 2, 1, 3]));
    const scores = affine(matmul(q, transpose(k, 2, 3)), q.shape[3] ** -0.5, 0);
    const bias = this.#bias(context);
    return softmax(bias ? add(scores, bias) : scores, 3);
  }
}

/** Queries, keys and values in one matrix; the bias may come from outside. */
class Projection extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(b: Builder, D: number, hasBias: boolean, weight: init.Initializer) {
    super();
    this.weight = b.parameter([3 * D, D], weight);
    this.bias = hasBias ? b.parameter([3 * D], init.zeros) : null;
  }

  project(x: Tensor, bias: Tensor | null): Tensor {
    return linear(x, this.weight, bias ?? this.bias, {});
  }
}

class Mlp extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(b: Builder, { embed_dim: D, mlp_ratio }: ViTConfig, layer: number, weight: init.Initializer) {
    super();
    const hidden = Math.trunc(D * mlp_ratio);
    this.fc1 = new Linear(b.at('fc1'), D, hidden, { weight, biasInit: init.zeros });
    this.fc2 = new Linear(b.at('fc2'), hidden, D, { weight: outputInit(weight, layer), biasInit: init.zeros });
  }

  forward(x: Tensor, residual: Tensor | null): Tensor {
    return this.fc2.forward(this.fc1.forward(x, { activation: 'gelu' }), { residual });
  }
}

/** One layer: x + attention(LN(x)), then x + mlp(LN(x)), each under layer scale and drop path where there are any. */
export class Block extends Module {
  readonly norm1: LayerNorm;
  readonly attn: Attention;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;
  readonly gamma_1: Parameter | null;
  readonly gamma_2: Parameter | null;
  readonly drop_path: DropPath;

  /** `layer` counts from 1, for the initialisation; `weight` draws fresh matrices. */
  constructor(b: Builder, config: ViTConfig, layer: number, dropPath: number, weight = PRETRAINING_INIT) {
    super();
    const { embed_dim: D, layer_norm_eps, init_values } = config;
    this.norm1 = new LayerNorm(b.at('norm1'), D, layer_norm_eps);
    this.attn = new Attention(b.at('attn'), config, layer, weight);
    this.norm2 = new LayerNorm(b.at('norm2'), D, layer_norm_eps);
    this.mlp = new Mlp(b.at('mlp'), config, layer, weight);
    const gamma = (name: string) => (init_values > 0 ? b.at(name).parameter([D], init.constant(init_values)) : null);
    this.gamma_1 = gamma('gamma_1');
    this.gamma_2 = gamma('gamma_2');
    this.drop_path = new DropPath(dropPath);
  }

  forward(x: Tensor, context: PassContext): Tensor {
    const y = this.#residual(x, this.gamma_1, () => this.attn.forward(this.norm1.forward(x), context));
    return this.#residual(y, this.gamma_2, (residual) => this.mlp.forward(this.norm2.forward(y), residual));
  }

  /** What the attention of this layer sees for its input [B, N, D]: probabilities [B, H, N, N]. */
  probabilities(x: Tensor, context: PassContext): Tensor {
    return this.attn.probabilities(this.norm1.forward(x), context);
  }

  /** x + drop_path(gamma f(x)); a plain sum may be part of the last kernel of `f`, which then gives it. */
  #residual(x: Tensor, gamma: Parameter | null, f: (residual: Tensor | null) => Tensor): Tensor {
    if (gamma === null && !this.drop_path.active && f.length === 1) return f(x);
    const made = f(null);
    return add(x, this.drop_path.forward(gamma ? mul(made, gamma) : made));
  }
}

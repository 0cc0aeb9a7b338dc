import { OpError } from '../core/errors.js';
import { scope } from '../core/memory.js';
import {
  attention,
  conv2d,
  dropout,
  gatherRows,
  gelu,
  layerNorm,
  linear,
  mul,
  reshape,
  tanh,
} from '../core/ops/index.js';
import { defaultGenerator, type Generator } from '../core/random.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { fresh } from '../core/watch.js';
import type { Builder, Parameter } from './builder.js';
import { fanInUniform, type Initializer, normal, ones, zeros } from './init.js';
import { Module } from './module.js';

/** A module with one tensor in and one out: what Sequential chains. */
export abstract class Layer extends Module {
  abstract forward(x: Tensor): Tensor;
}

export interface LinearOptions {
  readonly bias?: boolean;
  readonly weight?: Initializer;
  readonly biasInit?: Initializer;
}

export interface LinearCall {
  readonly activation?: 'none' | 'gelu';
  /** Added to the result, in the same kernel. */
  readonly residual?: Tensor | null;
}

/** y = act(x W^T + b) + residual; x [..., in], W [out, in]. */
export class Linear extends Layer {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(b: Builder, inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    this.weight = b.parameter([outFeatures, inFeatures], options.weight ?? fanInUniform());
    this.bias =
      options.bias === false ? null : b.parameter([outFeatures], options.biasInit ?? fanInUniform(inFeatures));
  }

  forward(x: Tensor, call: LinearCall = {}): Tensor {
    return linear(x, this.weight, this.bias, call);
  }
}

/** Normalises the last axis to mean 0 and variance 1, then scales and shifts; x [..., D]. */
export class LayerNorm extends Layer {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    b: Builder,
    features: number,
    readonly eps = 1e-5,
  ) {
    super();
    this.weight = b.parameter([features], ones);
    this.bias = b.parameter([features], zeros);
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps });
  }
}

/** Rows of a table by id: int32 [...] -> [..., D]. */
export class Embedding extends Layer {
  readonly weight: Parameter;

  constructor(b: Builder, count: number, features: number, weight: Initializer = normal()) {
    super();
    this.weight = b.parameter([count, features], weight);
  }

  forward(ids: Tensor): Tensor {
    return gatherRows(this.weight, ids);
  }
}

export interface Conv2dOptions {
  readonly stride?: number;
  readonly padding?: number;
  readonly bias?: boolean;
  readonly weight?: Initializer;
  readonly biasInit?: Initializer;
}

/** 2-D convolution over x [B, C, H, W] with square kernels. */
export class Conv2d extends Layer {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(
    b: Builder,
    inChannels: number,
    outChannels: number,
    kernel: number,
    readonly options: Conv2dOptions = {},
  ) {
    super();
    const { weight = fanInUniform(), biasInit = fanInUniform(inChannels * kernel * kernel) } = options;
    this.weight = b.parameter([outChannels, inChannels, kernel, kernel], weight);
    this.bias = options.bias === false ? null : b.parameter([outChannels], biasInit);
  }

  forward(x: Tensor): Tensor {
    const { stride = 1, padding = 0 } = this.options;
    return conv2d(x, this.weight, this.bias, { stride, padding });
  }
}

function checkProbability(name: string, p: number): void {
  if (!(p >= 0 && p < 1)) throw new OpError(name, `expected a probability from 0 to below 1, got ${p}`);
}

/** In training, zeroes each element with probability p and scales the others by 1 / (1 - p). */
export class Dropout extends Layer {
  constructor(
    readonly p: number,
    readonly generator: Generator = defaultGenerator(),
  ) {
    super();
    checkProbability('dropout', p);
  }

  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropout(x, this.p, { generator: this.generator }) : x;
  }
}

/** Stochastic depth: in training, zeroes whole samples (first axis) with probability p, scaling the others. */
export class DropPath extends Layer {
  constructor(
    readonly p: number,
    readonly generator: Generator = defaultGenerator(),
  ) {
    super();
    checkProbability('dropPath', p);
  }

  /** Whether forward changes anything now. */
  get active(): boolean {
    return this.training && this.p > 0;
  }

  forward(x: Tensor): Tensor {
    if (!this.active) return x;
    const { dtype, backend } = x;
    const factors = () => this.generator.uniform(x.shape[0]).map((u) => (u < this.p ? 0 : 1 / (1 - this.p)));
    const shape = x.shape.map((d, i) => (i === 0 ? d : 1));
    return scope(() => {
      const scales = fresh(() => tensor(factors(), { shape, dtype, backend }));
      return mul(x, scales);
    });
  }
}

/** x * Phi(x), with the exact error function. */
export class GELU extends Layer {
  forward(x: Tensor): Tensor {
    return gelu(x);
  }
}

export class Tanh extends Layer {
  forward(x: Tensor): Tensor {
    return tanh(x);
  }
}

/** Layers one after the other; their names are their positions. */
export class Sequential extends Layer {
  readonly #layers: readonly Layer[];

  constructor(...layers: Layer[]) {
    super();
    this.#layers = layers;
  }

  override *children(): Iterable<[string, Module]> {
    for (const [i, layer] of this.#layers.entries()) yield [String(i), layer];
  }

  forward(x: Tensor): Tensor {
    return this.#layers.reduce((y, layer) => layer.forward(y), x);
  }
}

export interface AttentionMasks {
  /** [B, Lk], 1 = not attended to. */
  readonly keyPadding?: Tensor | null;
  /** Added to the scaled scores; broadcasts to [B, H, Lq, Lk]. */
  readonly bias?: Tensor | null;
}

/** Multi-head self-attention over x [B, L, D] with separate projections, as in Vaswani et al. 2017. */
export class SelfAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    b: Builder,
    features: number,
    readonly heads: number,
  ) {
    super();
    if (features % heads !== 0)
      throw new OpError('attention', `expected a width divisible by ${heads} heads, got ${features}`);
    this.q_proj = new Linear(b.at('q_proj'), features, features);
    this.k_proj = new Linear(b.at('k_proj'), features, features);
    this.v_proj = new Linear(b.at('v_proj'), features, features);
    this.out_proj = new Linear(b.at('out_proj'), features, features);
  }

  forward(x: Tensor, masks: AttentionMasks = {}): Tensor {
    const [B, L, D] = x.shape;
    const split = (t: Tensor) => reshape(t, [B, L, this.heads, D / this.heads]);
    const o = attention(
      split(this.q_proj.forward(x)),
      split(this.k_proj.forward(x)),
      split(this.v_proj.forward(x)),
      masks,
    );
    return this.out_proj.forward(reshape(o, [B, L, D]));
  }
}

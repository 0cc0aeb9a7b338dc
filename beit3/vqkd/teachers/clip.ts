/** The vision tower of CLIP (Radford et al. 2021, arXiv:2103.00020), a plain ViT. */
import { InputError } from '../../../core/errors.js';
import {
  add,
  affine,
  attention,
  cat,
  expand,
  linear,
  matmul,
  mul,
  reshape,
  select,
  sigmoid,
  slice,
  transpose,
} from '../../../core/ops/index.js';
import type { Tensor } from '../../../core/tensor.js';
import type { Builder, Parameter } from '../../../nn/builder.js';
import * as init from '../../../nn/init.js';
import { Conv2d, LayerNorm, Linear } from '../../../nn/layers.js';
import { Module } from '../../../nn/module.js';
import { layersBelow, type Shapes, shapesOf } from '../shapes.js';

/** Sizes of the tower. */
export interface ClipConfig {
  /** Side of the pictures, in pixels. */
  readonly imageSize: number;
  readonly patch: number;
  /** Width inside. */
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Width of what comes out. */
  readonly output: number;
}

/** Of the pictures that CLIP was trained on. */
export const CLIP_STATISTICS = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  deviation: [0.26862954, 0.26130258, 0.27577711],
};

/** Width of an attention head in all published models. */
const HEAD_WIDTH = 64;

class ClipAttention extends Module {
  readonly in_proj_weight: Parameter;
  readonly in_proj_bias: Parameter;
  readonly out_proj: Linear;
  readonly #heads: number;

  constructor(b: Builder, { width: D, heads }: ClipConfig) {
    super();
    this.in_proj_weight = b.at('in_proj_weight').parameter([3 * D, D], init.truncatedNormal(0.02));
    this.in_proj_bias = b.at('in_proj_bias').parameter([3 * D], init.zeros);
    this.out_proj = new Linear(b.at('out_proj'), D, D);
    this.#heads = heads;
  }

  forward(x: Tensor): Tensor {
    const [B, N, D] = x.shape;
    const all = reshape(linear(x, this.in_proj_weight, this.in_proj_bias, {}), [B, N, 3, this.#heads, -1]);
    const [q, k, v] = [0, 1, 2].map((i) => select(all, 2, i));
    return this.out_proj.forward(reshape(attention(q, k, v, {}), [B, N, D]));
  }
}

class ClipMlp extends Module {
  readonly c_fc: Linear;
  readonly c_proj: Linear;

  constructor(b: Builder, { width: D }: ClipConfig) {
    super();
    this.c_fc = new Linear(b.at('c_fc'), D, 4 * D);
    this.c_proj = new Linear(b.at('c_proj'), 4 * D, D);
  }

  /** GELU is approximated by x sigmoid(1.702 x), as the weights were trained. */
  forward(x: Tensor): Tensor {
    const hidden = this.c_fc.forward(x);
    return this.c_proj.forward(mul(hidden, sigmoid(affine(hidden, 1.702, 0))));
  }
}

class ClipBlock extends Module {
  readonly ln_1: LayerNorm;
  readonly attn: ClipAttention;
  readonly ln_2: LayerNorm;
  readonly mlp: ClipMlp;

  constructor(b: Builder, config: ClipConfig) {
    super();
    this.ln_1 = new LayerNorm(b.at('ln_1'), config.width);
    this.attn = new ClipAttention(b.at('attn'), config);
    this.ln_2 = new LayerNorm(b.at('ln_2'), config.width);
    this.mlp = new ClipMlp(b.at('mlp'), config);
  }

  forward(x: Tensor): Tensor {
    const y = add(x, this.attn.forward(this.ln_1.forward(x)));
    return add(y, this.mlp.forward(this.ln_2.forward(y)));
  }
}

class ClipTransformer extends Module {
  readonly resblocks: readonly ClipBlock[];

  constructor(b: Builder, config: ClipConfig) {
    super();
    this.resblocks = Array.from({ length: config.layers }, (_, i) => new ClipBlock(b.at('resblocks').at(i), config));
  }
}

class ClipTower extends Module {
  readonly conv1: Conv2d;
  readonly class_embedding: Parameter;
  readonly positional_embedding: Parameter;
  readonly ln_pre: LayerNorm;
  readonly transformer: ClipTransformer;
  readonly ln_post: LayerNorm;
  readonly proj: Parameter;

  constructor(b: Builder, config: ClipConfig) {
    super();
    const { width: D, patch, imageSize, output } = config;
    const draw = init.truncatedNormal(0.02);
    this.conv1 = new Conv2d(b.at('conv1'), 3, D, patch, { stride: patch, bias: false });
    this.class_embedding = b.at('class_embedding').parameter([D], draw);
    this.positional_embedding = b
      .at('positional_embedding')
      .parameter([1 + Math.floor(imageSize / patch) ** 2, D], draw);
    this.ln_pre = new LayerNorm(b.at('ln_pre'), D);
    this.transformer = new ClipTransformer(b.at('transformer'), config);
    this.ln_post = new LayerNorm(b.at('ln_post'), D);
    this.proj = b.at('proj').parameter([D, output], draw);
  }
}

/** The tower under the name that it has in the published files. */
export class ClipVision extends Module {
  readonly visual: ClipTower;

  constructor(b: Builder, config: ClipConfig) {
    super();
    this.visual = new ClipTower(b.at('visual'), config);
  }

  /** Pictures normalised by CLIP's statistics -> patches [B, P, output] in the space of texts. */
  patches(images: Tensor): Tensor {
    const { conv1, class_embedding, positional_embedding, ln_pre, transformer, ln_post, proj } = this.visual;
    const map = conv1.forward(images);
    const [B, D] = map.shape;
    const patches = transpose(reshape(map, [B, D, -1]), 1, 2);
    const x = add(cat([expand(class_embedding, [B, 1, D]), patches], 1), positional_embedding);
    const y = transformer.resblocks.reduce((input, block) => block.forward(input), ln_pre.forward(x));
    return matmul(ln_post.forward(slice(y, 1, 1)), proj);
  }
}

/** Sizes from the tensors, and the side of the pictures that it was trained on. Throws InputError for another file. */
export function inferClip(
  tensors: Shapes,
  source: string,
  given: { readonly imageSize?: number; readonly heads?: number } = {},
): ClipConfig {
  const shape = shapesOf(tensors, `${source} is no CLIP with a ViT`, 'give one such as ViT-B-16.pt');
  const [width, , , patch] = shape('visual.conv1.weight', 4);
  const [, output] = shape('visual.proj', 2);
  const side = Math.sqrt(shape('visual.positional_embedding', 2)[0] - 1);
  const layers = layersBelow(tensors, 'visual.transformer.resblocks.');
  const { imageSize = side * patch, heads = width / HEAD_WIDTH } = given;
  const sizes = { imageSize, patch, width, layers, heads, output };
  if (Object.values(sizes).some((n) => !Number.isInteger(n) || n < 1) || imageSize < patch || width % heads !== 0)
    throw new InputError(`${source} is no CLIP with a ViT of known sizes, got ${JSON.stringify(sizes)}.`);
  return sizes;
}

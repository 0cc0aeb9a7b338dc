import { InputError, OpError } from '../../core/errors.js';
import { add, cat, expand, gatherRows, mul, reshape, slice, transpose, where } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder, Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { Conv2d, Embedding } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { type Beit3Config, visionPositions } from '../config.js';
import { type Initialisation, positionInit } from './initialisation.js';
import { type Branches, Multiway } from './multiway.js';

/** Image [B, C, S, S] -> [CLS] and patch embeddings [B, 1 + patches, D]. */
export class VisionEmbedding extends Module {
  readonly proj: Conv2d;
  readonly mask_token: Parameter;
  readonly cls_token: Parameter;
  readonly #config: Beit3Config;

  constructor(b: Builder, config: Beit3Config) {
    super();
    const D = config.encoder_embed_dim;
    this.proj = new Conv2d(b.at('proj'), config.in_chans, D, config.patch_size, { stride: config.patch_size });
    this.mask_token = b.at('mask_token').parameter([1, 1, D], init.zeros);
    this.cls_token = b.at('cls_token').parameter([1, 1, D], init.zeros);
    this.#config = config;
  }

  /** `masked` [B, patches] (bool), 1 = the patch is replaced by the mask token. */
  forward(image: Tensor, masked: Tensor | null = null): Tensor {
    const { in_chans: C, img_size: S } = this.#config;
    const [B, ...rest] = image.shape;
    if (image.rank !== 4 || rest[0] !== C || rest[1] !== S || rest[2] !== S) {
      throw new OpError(
        'visionEmbedding',
        `expected images float32[B, ${C}, ${S}, ${S}], got ${image}; resize them first`,
      );
    }
    const grid = this.proj.forward(image);
    const D = grid.shape[1];
    let patches = transpose(reshape(grid, [B, D, -1]), 1, 2);
    if (masked) patches = where(reshape(masked, [B, -1, 1]), this.mask_token, patches);
    return cat([expand(this.cls_token, [B, 1, D]), patches], 1);
  }
}

/** Position tables: A for vision, B for language; the first two rows are never used (fairseq counts from 2). */
export class PositionEmbeddings extends Multiway<Embedding> {
  constructor(b: Builder, config: Beit3Config, branches: Branches, initialisation: Initialisation) {
    const rows = { A: visionPositions(config), B: config.max_source_positions };
    super(
      b,
      branches,
      (at, branch) => new Embedding(at, rows[branch], config.encoder_embed_dim, positionInit(initialisation)),
    );
  }
}

const FIRST_POSITION = 2;

/** x [B, L, D] + the L rows of a position table from `start` on. */
export function addPositions(x: Tensor, table: Embedding | null, start = FIRST_POSITION): Tensor {
  if (table === null) throw new OpError('positions', 'this model was made without the weights for this kind of input');
  const rows = table.weight.shape[0];
  const L = x.shape[1];
  if (start + L > rows) {
    throw new InputError(
      `The sequence has ${start - FIRST_POSITION + L} tokens, but this model takes at most ${rows - FIRST_POSITION}; shorten the text.`,
    );
  }
  return add(x, slice(table.weight, 0, start, start + L));
}

/** Word embeddings [B, T, D] of token ids [B, T], zeroed at padding after `finish` (which adds positions). */
export function embedText(words: Embedding, ids: Tensor, keep: Tensor | null, finish: (x: Tensor) => Tensor): Tensor {
  const x = finish(gatherRows(words.weight, ids));
  return keep ? mul(x, keep) : x;
}

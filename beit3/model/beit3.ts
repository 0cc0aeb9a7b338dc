import { checkpoint } from '../../autograd/custom.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { affine, cast, cat, reshape, zeros } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { Embedding } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { type Beit3Config, patchCount } from '../config.js';
import { addPositions, embedText, PositionEmbeddings, VisionEmbedding } from './embeddings.js';
import { type Initialisation, wordInit } from './initialisation.js';
import { type Context, EncoderLayer, type LayerCache } from './layer.js';
import { type Branches, MultiwayLayerNorm } from './multiway.js';

/** Keys and values of all layers, for decoding one token after the other. */
export type Cache = LayerCache[];

export interface Beit3Input {
  /** Images float32 [B, C, S, S], normalised. */
  readonly image?: Tensor | null;
  /** Token ids int32 [B, T]. */
  readonly text?: Tensor | null;
  /** bool [B, T], 1 = padding. */
  readonly padding?: Tensor | null;
  /** bool [B, patches], 1 = the patch is hidden behind the mask token. */
  readonly maskedPatches?: Tensor | null;
  /** Added to the scaled attention scores; broadcasts to [B, H, Lq, Lk]. */
  readonly attentionBias?: Tensor | null;
  /** Keys and values of earlier positions: read and extended. Padding is then ignored, as in the reference. */
  readonly cache?: Cache | null;
  /** Row of the text position table for the first token; default 2. */
  readonly textStart?: number;
}

export interface Beit3Output {
  /** [B, L, D]: vision positions first, then text. */
  readonly hidden: Tensor;
  /** Where text starts; -1 for images alone, 0 for text alone. */
  readonly split: number;
}

export interface Beit3Options {
  /** Weights to have; default both. */
  readonly branches?: Branches;
  readonly initialisation?: Initialisation;
}

type Watchers = Pick<Beit3, 'onHidden' | 'onAttention'>;

const BOTH: Branches = { A: true, B: true };

class Encoder extends Module {
  readonly embed_positions: PositionEmbeddings;
  readonly layers: readonly EncoderLayer[];
  readonly layer_norm: MultiwayLayerNorm | null;
  readonly #checkpointing: boolean;

  constructor(b: Builder, config: Beit3Config, branches: Branches, initialisation: Initialisation) {
    super();
    this.embed_positions = new PositionEmbeddings(b.at('embed_positions'), config, branches, initialisation);
    const layers = b.at('layers');
    this.layers = Array.from(
      { length: config.encoder_layers },
      (_, i) => new EncoderLayer(layers.at(i), config, i, { branches, initialisation }),
    );
    this.layer_norm = config.normalize_output
      ? new MultiwayLayerNorm(b.at('layer_norm'), branches, config.encoder_embed_dim, config.layernorm_eps)
      : null;
    this.#checkpointing = config.checkpoint_activations;
  }

  forward(x: Tensor, context: Context, cache: Cache | null, { onHidden, onAttention }: Watchers): Tensor {
    const last = this.layers.reduce((input, layer, i) => {
      onAttention?.(() => layer.probabilities(input, context), i);
      const state = cache?.[i] ?? null;
      // What a layer makes on the way is freed at its end; backward keeps what it needs.
      const output = scope(() => {
        const y =
          this.#checkpointing && this.training && !state
            ? checkpointed(layer, input, context)
            : layer.forward(input, context, state);
        return { y, state };
      }).y;
      onHidden?.(output, i);
      return output;
    }, x);
    return this.layer_norm ? this.layer_norm.forward(last, context.split) : last;
  }
}

/** A layer whose activations are computed again in backward; the masks are kept like its input. */
function checkpointed(layer: EncoderLayer, input: Tensor, { split, keyPadding, bias }: Context): Tensor {
  const masks = [keyPadding, bias].filter((t) => t !== null);
  const forward = (h: Tensor, ...kept: Tensor[]): Tensor =>
    layer.forward(h, { split, keyPadding: keyPadding && kept[0], bias: bias && kept[masks.length - 1] });
  return checkpoint(forward, input, ...masks);
}

/** The BEiT-3 backbone: one transformer for images, texts and pairs (Wang et al. 2023, arXiv:2208.10442). */
export class Beit3 extends Module {
  readonly text_embed: Embedding | null;
  readonly vision_embed: VisionEmbedding | null;
  readonly encoder: Encoder;
  /** Sees the output [B, L, D] of every layer of every pass; it belongs to the scope of the pass. */
  onHidden: ((hidden: Tensor, layer: number) => void) | null = null;
  /** May ask, before each layer of every pass, for the probabilities [B, H, L, L] of its attention. */
  onAttention: ((probabilities: () => Tensor, layer: number) => void) | null = null;
  readonly #config: Beit3Config;

  constructor(b: Builder, config: Beit3Config, { branches = BOTH, initialisation = 'official' }: Beit3Options = {}) {
    super();
    this.text_embed = branches.B
      ? new Embedding(b.at('text_embed'), config.vocab_size, config.encoder_embed_dim, wordInit(config, initialisation))
      : null;
    this.vision_embed = branches.A ? new VisionEmbedding(b.at('vision_embed'), config) : null;
    this.encoder = new Encoder(b.at('encoder'), config, branches, initialisation);
    this.#config = config;
  }

  /** Number of vision positions: [CLS] and patches. */
  get visionLength(): number {
    return patchCount(this.#config) + 1;
  }

  /** An empty cache for a batch of B. */
  emptyCache(B: number, like: { readonly backend: Tensor['backend'] }): Cache {
    const H = this.#config.encoder_attention_heads;
    const shape = [B, 0, H, this.#config.encoder_embed_dim / H];
    const blank = () => zeros(shape, { backend: like.backend });
    return this.encoder.layers.map(() => ({ key: blank(), value: blank() }));
  }

  forward({ image, text, padding, maskedPatches, attentionBias, cache, textStart }: Beit3Input): Beit3Output {
    const { A, B } = this.encoder.embed_positions;
    const vision = image
      ? addPositions(have(this.vision_embed, 'image').forward(image, maskedPatches ?? null), A)
      : null;
    let language: Tensor | null = null;
    if (text) {
      const kept = padding ? affine(cast(reshape(padding, [...padding.shape, 1]), 'float32'), -1, 1) : null;
      language = embedText(have(this.text_embed, 'text'), text, kept, (x) => addPositions(x, B, textStart));
    }
    const split = language === null ? -1 : vision === null ? 0 : vision.shape[1];
    const x = vision && language ? cat([vision, language], 1) : (vision ?? language);
    if (x === null) throw new OpError('beit3', 'expected an image, a text or both, got neither');
    const context: Context = {
      split,
      keyPadding: padding && !cache ? wholePadding(padding, vision) : null,
      bias: attentionBias ?? null,
    };
    return { hidden: this.encoder.forward(x, context, cache ?? null, this), split };
  }
}

function have<M>(module: M | null, kind: string): M {
  if (module === null) throw new OpError('beit3', `this model was made without the weights for ${kind} input`);
  return module;
}

/** Padding of the whole sequence: vision positions never are. */
function wholePadding(padding: Tensor, vision: Tensor | null): Tensor {
  if (vision === null) return padding;
  const none = zeros([padding.shape[0], vision.shape[1]], { dtype: padding.dtype, backend: padding.backend });
  return cat([none, padding], 1);
}

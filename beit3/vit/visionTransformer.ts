import { checkpoint } from '../../autograd/custom.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { add, cat, expand, mean, reshape, select, slice, transpose, where } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder, Parameter } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { Conv2d, LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';
import { Block, type PassContext } from './block.js';
import { gridOf, type ViTConfig } from './config.js';
import { indexTensor, RelativePositionBias } from './relativePositions.js';

/** Images [B, C, S, S] -> patches [B, N, D]. */
class PatchEmbed extends Module {
  readonly proj: Conv2d;

  constructor(b: Builder, { in_chans, embed_dim, patch_size }: ViTConfig, weight: init.Initializer | undefined) {
    super();
    const drawn = weight && { weight, biasInit: init.zeros };
    this.proj = new Conv2d(b.at('proj'), in_chans, embed_dim, patch_size, { stride: patch_size, ...drawn });
  }

  forward(image: Tensor): Tensor {
    const grid = this.proj.forward(image);
    return transpose(reshape(grid, [grid.shape[0], grid.shape[1], -1]), 1, 2);
  }
}

/** A layer whose activations are computed again in backward; what all layers share is kept like its input. */
function checkpointed(block: Block, input: Tensor, { bias, index }: PassContext): Tensor {
  const shared = [bias, index].filter((t) => t !== null);
  const forward = (x: Tensor, ...kept: Tensor[]): Tensor =>
    block.forward(x, { bias: bias && kept[0], index: index && kept[shared.length - 1] });
  return checkpoint(forward, input, ...shared);
}

/** The trunk that BEiT's models share: patches, [CLS], positions, layers. Its fields have the official names. */
export abstract class ViTTrunk extends Module {
  readonly patch_embed: PatchEmbed;
  readonly cls_token: Parameter;
  readonly pos_embed: Parameter | null;
  readonly rel_pos_bias: RelativePositionBias | null;
  readonly blocks: readonly Block[];
  /** May ask, before each layer of every pass, for the probabilities [B, H, N, N] of its attention. */
  onAttention: ((probabilities: () => Tensor, layer: number) => void) | null = null;
  readonly #config: ViTConfig;

  /** Fresh weights are drawn by `weight`, those of the patches by `patchWeight`, by default as any convolution's. */
  protected constructor(b: Builder, config: ViTConfig, weight: init.Initializer, patchWeight?: init.Initializer) {
    super();
    const { embed_dim: D, depth, drop_path_rate, num_heads } = config;
    const grid = gridOf(config);
    this.patch_embed = new PatchEmbed(b.at('patch_embed'), config, patchWeight);
    this.cls_token = b.at('cls_token').parameter([1, 1, D], weight);
    this.pos_embed = config.use_abs_pos_emb ? b.at('pos_embed').parameter([1, grid * grid + 1, D], weight) : null;
    this.rel_pos_bias = config.use_shared_rel_pos_bias
      ? new RelativePositionBias(b.at('rel_pos_bias'), grid, num_heads)
      : null;
    const blocks = b.at('blocks');
    this.blocks = Array.from(
      { length: depth },
      (_, i) => new Block(blocks.at(i), config, i + 1, (drop_path_rate * i) / Math.max(1, depth - 1), weight),
    );
    this.#config = config;
  }

  /** [CLS] and patches [B, 1 + N, D] with positions; hidden patches (`masked` [B, N]) are the mask token. */
  protected embed(image: Tensor, masked: Tensor | null = null, maskToken: Tensor | null = null): Tensor {
    const { in_chans: C, img_size: S } = this.#config;
    const [B, ...rest] = image.shape;
    if (image.rank !== 4 || rest[0] !== C || rest[1] !== S || rest[2] !== S)
      throw new OpError(
        'visionTransformer',
        `expected images float32[B, ${C}, ${S}, ${S}], got ${image}; resize them first`,
      );
    let patches = this.patch_embed.forward(image);
    if (masked && maskToken) patches = where(reshape(masked, [B, -1, 1]), maskToken, patches);
    const x = cat([expand(this.cls_token, [B, 1, patches.shape[2]]), patches], 1);
    return this.pos_embed ? add(x, this.pos_embed) : x;
  }

  /** What the layers of a pass over x share. */
  protected context(x: Tensor): PassContext {
    const { use_rel_pos_bias: own } = this.#config;
    const index = this.rel_pos_bias || own ? indexTensor(gridOf(this.#config), x) : null;
    return { bias: this.rel_pos_bias && index ? this.rel_pos_bias.forward(index) : null, index: own ? index : null };
  }

  /** x through the layers; `onOutput` sees what each puts out. */
  protected run(
    x: Tensor,
    context: PassContext,
    blocks: readonly Block[] = this.blocks,
    onOutput?: (y: Tensor, layer: number) => void,
  ): Tensor {
    return blocks.reduce((input, block, i) => {
      if (blocks === this.blocks) this.onAttention?.(() => block.probabilities(input, context), i);
      // What a layer makes on the way is freed at its end; backward keeps what it needs.
      const again = this.#config.checkpoint_activations && this.training;
      const y = scope(() => (again ? checkpointed(block, input, context) : block.forward(input, context)));
      onOutput?.(y, i);
      return y;
    }, x);
  }
}

/**
 * What stands for an image: the normed mean of its patches, the normed [CLS], or [CLS] and the mean beside each other without a
 * norm, which is what the reference's linear probe sees of a layer.
 */
export type Pooling = 'mean' | 'cls' | 'both';

export interface VisionTransformerOptions {
  /** Outputs of the head; 0 for none. */
  readonly classes: number;
  readonly pooling: Pooling;
  /** Factor on the fresh weights of the head; the reference has 0.001. */
  readonly headScale?: number;
}

/** How fresh classifiers are drawn: normal with standard deviation 0.02, cut at 2, which is nowhere. */
const CLASSIFIER_INIT = init.truncatedNormal(0.02, 2);
/** The reference's for the classifiers of its linear probe. */
const PROBE_INIT = init.normal(0.01);

/** The ViT of BEiT (Bao et al. 2022) and BEiT v2 (Peng et al. 2022), with a linear classifier. */
export class VisionTransformer extends ViTTrunk {
  /** Over [CLS] and patches, for pooling by [CLS]. */
  readonly norm: LayerNorm | null;
  /** Over the mean of the patches. */
  readonly fc_norm: LayerNorm | null;
  readonly head: Linear | null;
  readonly #pooling: Pooling;

  constructor(b: Builder, config: ViTConfig, { classes, pooling, headScale = 0.001 }: VisionTransformerOptions) {
    super(b, config, CLASSIFIER_INIT);
    const { embed_dim: D, layer_norm_eps } = config;
    this.norm = pooling === 'cls' ? new LayerNorm(b.at('norm'), D, layer_norm_eps) : null;
    this.fc_norm = pooling === 'mean' ? new LayerNorm(b.at('fc_norm'), D, layer_norm_eps) : null;
    const [width, weight] = pooling === 'both' ? [2 * D, PROBE_INIT] : [D, init.scaled(CLASSIFIER_INIT, headScale)];
    this.head = classes > 0 ? new Linear(b.at('head'), width, classes, { weight, biasInit: init.zeros }) : null;
    this.#pooling = pooling;
  }

  /** Images [B, C, S, S] -> the last layer's [CLS] and patches [B, 1 + N, D], normed for pooling by [CLS] alone. */
  hidden(image: Tensor): Tensor {
    const x = this.embed(image);
    const y = this.run(x, this.context(x));
    return this.norm ? this.norm.forward(y) : y;
  }

  /** Images -> normed patches [B, N, D]. */
  patches(image: Tensor): Tensor {
    const patches = slice(this.hidden(image), 1, 1);
    return this.fc_norm ? this.fc_norm.forward(patches) : patches;
  }

  /** Images -> what the head classifies, [B, D], or [B, 2 D] for both. */
  features(image: Tensor): Tensor {
    const hidden = this.hidden(image);
    const cls = select(hidden, 1, 0);
    if (this.#pooling === 'cls') return cls;
    const patches = mean(slice(hidden, 1, 1), 1);
    return this.fc_norm ? this.fc_norm.forward(patches) : cat([cls, patches], 1);
  }

  /** Images -> logits [B, classes]. */
  forward(image: Tensor): Tensor {
    if (this.head === null) throw new OpError('visionTransformer', 'this model was made without a head');
    return this.head.forward(this.features(image));
  }
}

/** DINO (Caron et al. 2021, arXiv:2104.14294): a plain ViT, of which BEiT's is the same with other biases. */
import { parseViTConfig, type ViTConfig } from '../../vit/config.js';
import { layersBelow, type Shapes, shapesOf } from '../shapes.js';

/** Width of an attention head in all published models. */
const HEAD_WIDTH = 64;

/** Sizes from the tensors, and the side of the pictures that it was trained on. Throws InputError for another file. */
export function inferDino(
  tensors: Shapes,
  source: string,
  given: { readonly imageSize?: number; readonly heads?: number } = {},
): ViTConfig {
  const shape = shapesOf(tensors, `${source} is no DINO`, 'give one such as dino_vitbase16_pretrain.pth');
  const [D, , patch] = shape('patch_embed.proj.weight', 4);
  const [, positions] = shape('pos_embed', 3);
  const [hidden] = shape('blocks.0.mlp.fc1.weight', 2);
  return parseViTConfig(
    {
      img_size: given.imageSize ?? Math.sqrt(positions - 1) * patch,
      patch_size: patch,
      embed_dim: D,
      depth: layersBelow(tensors, 'blocks.'),
      num_heads: given.heads ?? D / HEAD_WIDTH,
      mlp_ratio: hidden / D,
      qkv_bias: 'whole',
    },
    source,
  );
}

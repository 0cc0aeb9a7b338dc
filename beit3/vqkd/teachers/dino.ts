/** DINO (Caron et al. 2021, arXiv:2104.14294): a plain ViT, of which BEiT's is the same with other biases. */
import type { TensorEntry } from '../../../checkpoints/index.js';
import { InputError } from '../../../core/errors.js';
import { parseViTConfig, type ViTConfig } from '../../vit/config.js';

/** Width of an attention head in all published models. */
const HEAD_WIDTH = 64;

/** Sizes from the tensors, and the side of the pictures that it was trained on. Throws InputError for another file. */
export function inferDino(
  tensors: ReadonlyMap<string, Pick<TensorEntry, 'shape'>>,
  source: string,
  given: { readonly imageSize?: number; readonly heads?: number } = {},
): ViTConfig {
  const shape = (name: string, rank: number): readonly number[] => {
    const found = tensors.get(name)?.shape;
    if (found?.length === rank) return found;
    throw new InputError(
      `${source} is no DINO: it has no ${name} of ${rank} axes; give one such as dino_vitbase16_pretrain.pth.`,
    );
  };
  const [D, , patch] = shape('patch_embed.proj.weight', 4);
  const [, positions] = shape('pos_embed', 3);
  const [hidden] = shape('blocks.0.mlp.fc1.weight', 2);
  const numbers = [...tensors.keys()].map((name) => /^blocks\.(\d{1,4})\./.exec(name)?.[1]);
  return parseViTConfig(
    {
      img_size: given.imageSize ?? Math.sqrt(positions - 1) * patch,
      patch_size: patch,
      embed_dim: D,
      depth: numbers.reduce((most, number) => Math.max(most, Number(number ?? -1) + 1), 0),
      num_heads: given.heads ?? D / HEAD_WIDTH,
      mlp_ratio: hidden / D,
      qkv_bias: 'whole',
    },
    source,
  );
}

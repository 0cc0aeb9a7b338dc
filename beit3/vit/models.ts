/** The names that the official registries of BEiT and BEiT v2 have. */
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import { VIT_DEFAULTS, type ViTConfig } from './config.js';
import { type BeitSpec, layerScale } from './spec.js';

type Sizes = Pick<ViTConfig, 'embed_dim' | 'depth' | 'num_heads' | 'mlp_ratio' | 'patch_size'>;

const BASE: Sizes = { embed_dim: 768, depth: 12, num_heads: 12, mlp_ratio: 4, patch_size: 16 };
const LARGE: Sizes = { embed_dim: 1024, depth: 24, num_heads: 16, mlp_ratio: 4, patch_size: 16 };

/** The sizes that weights were published of, for `beit3 mim`. */
export const BEIT_SIZES = { base: BASE, large: LARGE } as const;
export type BeitSize = keyof typeof BEIT_SIZES;

/** Official name -> sizes and resolution. BEiT v2 has the models of BEiT; its files begin with beitv2. */
const REGISTRY: readonly (readonly [name: string, sizes: Sizes, resolution: number])[] = [
  ['beit_base_patch16_224', BASE, 224],
  ['beit_base_patch16_256', BASE, 256],
  ['beit_base_patch16_384', BASE, 384],
  ['beit_large_patch16_224', LARGE, 224],
  ['beit_large_patch16_384', LARGE, 384],
  ['beit_large_patch16_512', LARGE, 512],
  ['beitv2_base_patch16_224', BASE, 224],
  ['beitv2_large_patch16_224', LARGE, 224],
];

const CLASSES = 1000;

/** Name -> a classifier of ImageNet as the script for fine-tuning makes it: relative positions in each layer, layer scale. */
export const BEIT_MODELS: ReadonlyMap<string, BeitSpec> = new Map(
  REGISTRY.map(([name, sizes, img_size]): [string, BeitSpec] => [
    name,
    {
      config: {
        ...VIT_DEFAULTS,
        ...sizes,
        img_size,
        init_values: layerScale(sizes.embed_dim),
        use_abs_pos_emb: false,
        use_rel_pos_bias: true,
      },
      classes: CLASSES,
      pooling: 'mean',
      statistics: name.startsWith('beitv2') ? 'imagenet' : 'vl',
      pretraining: null,
    },
  ]),
);

/** Whether a name is meant as one of these, rightly spelt or not. */
export function isBeitName(name: string): boolean {
  return /^beit(v2)?_/.test(name);
}

/** The model of an official name. Throws InputError that suggests the nearest. */
export function beitModel(name: string): BeitSpec {
  const found = BEIT_MODELS.get(name);
  if (found) return found;
  const shown = name.slice(0, 100);
  throw new InputError(
    `There is no model named ${JSON.stringify(shown)}; the nearest is ${nearest(shown, BEIT_MODELS.keys())}.`,
  );
}

import { InputError } from '../../core/errors.js';

/** Sizes of a plain vision transformer; the names are those of the BEiT v2 code. */
export interface ViTConfig {
  /** Side of the square input, in pixels. */
  readonly img_size: number;
  readonly patch_size: number;
  readonly in_chans: number;
  /** Width D. */
  readonly embed_dim: number;
  readonly depth: number;
  readonly num_heads: number;
  /** Width of the feed-forward layers over D. */
  readonly mlp_ratio: number;
  /** `split`: BEiT's q_bias and v_bias, none for keys; `whole`: one bias for all three; `none`. */
  readonly qkv_bias: 'split' | 'whole' | 'none';
  /** What layer scale begins with (CaiT; Touvron et al. 2021); 0 for none. */
  readonly init_values: number;
  /** Learnt positions added to the patches. */
  readonly use_abs_pos_emb: boolean;
  /** A table of relative positions in each layer. */
  readonly use_rel_pos_bias: boolean;
  /** One table of relative positions for all layers. */
  readonly use_shared_rel_pos_bias: boolean;
  readonly layer_norm_eps: number;
  /** Stochastic depth of the last layer; earlier layers less, linearly. */
  readonly drop_path_rate: number;
  /** Recompute activations in backward, layer by layer, instead of keeping them. */
  readonly checkpoint_activations: boolean;
}

export const VIT_DEFAULTS: ViTConfig = {
  img_size: 224,
  patch_size: 16,
  in_chans: 3,
  embed_dim: 768,
  depth: 12,
  num_heads: 12,
  mlp_ratio: 4,
  qkv_bias: 'split',
  init_values: 0,
  use_abs_pos_emb: true,
  use_rel_pos_bias: false,
  use_shared_rel_pos_bias: false,
  layer_norm_eps: 1e-6,
  drop_path_rate: 0,
  checkpoint_activations: false,
};

/** Patches along a side. */
export function gridOf({ img_size, patch_size }: Pick<ViTConfig, 'img_size' | 'patch_size'>): number {
  return Math.floor(img_size / patch_size);
}

const INTEGERS = [
  ['img_size', 1 << 13],
  ['patch_size', 1 << 12],
  ['in_chans', 1024],
  ['embed_dim', 1 << 16],
  ['depth', 1024],
  ['num_heads', 4096],
] as const;
const FLAGS = ['use_abs_pos_emb', 'use_rel_pos_bias', 'use_shared_rel_pos_bias', 'checkpoint_activations'] as const;
const MOST_GRID = 256;

/** A config from parsed JSON, over `defaults`; unknown fields are ignored. Throws InputError, one sentence, for wrong ones. */
export function parseViTConfig(
  given: Readonly<Record<string, unknown>>,
  source: string,
  defaults: ViTConfig = VIT_DEFAULTS,
): ViTConfig {
  const merged: Record<string, unknown> = { ...defaults };
  for (const key of Object.keys(VIT_DEFAULTS)) if ((given[key] ?? null) !== null) merged[key] = given[key];
  const refuse = (key: string, expected: string): never => {
    throw new InputError(`${source}: expected ${key} to be ${expected}, got ${JSON.stringify(merged[key])}.`);
  };
  for (const [key, most] of INTEGERS) {
    const v = merged[key] as number;
    if (!Number.isInteger(v) || v < 1 || v > most) refuse(key, `a whole number from 1 to ${most}`);
  }
  for (const key of FLAGS) if (typeof merged[key] !== 'boolean') refuse(key, 'true or false');
  for (const [key, most] of [
    ['mlp_ratio', 64],
    ['init_values', 100],
    ['layer_norm_eps', 1],
    ['drop_path_rate', 0.999],
  ] as const) {
    const v = merged[key] as number;
    if (typeof v !== 'number' || !(v >= 0 && v <= most)) refuse(key, `a number from 0 to ${most}`);
  }
  if (!['split', 'whole', 'none'].includes(merged.qkv_bias as string)) refuse('qkv_bias', 'split, whole or none');
  const config = merged as unknown as ViTConfig;
  if (config.embed_dim % config.num_heads !== 0) refuse('embed_dim', `divisible by num_heads ${config.num_heads}`);
  const grid = gridOf(config);
  if (grid < 1 || grid > MOST_GRID)
    refuse('img_size', `1 to ${MOST_GRID} patches of ${config.patch_size} pixels a side`);
  return config;
}

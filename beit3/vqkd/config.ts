import { InputError } from '../../core/errors.js';
import type { ViTConfig } from '../vit/config.js';
import { gridOf, parseViTConfig, VIT_DEFAULTS } from '../vit/config.js';

/** Sizes of a VQ-KD tokenizer. */
export interface VqKdConfig {
  readonly encoder: ViTConfig;
  readonly decoder: ViTConfig;
  /** Size of the codebook. */
  readonly n_code: number;
  /** Width of its vectors. */
  readonly code_dim: number;
  /** Width of the teacher's features. */
  readonly decoder_out_dim: number;
  /** Share of the old code vector that a step keeps. */
  readonly decay: number;
}

/** The official sizes, less the teacher's: encoder and decoder of width 768, 8192 codes of width 32. */
export const VQKD_DEFAULTS = {
  img_size: 224,
  patch_size: 16,
  embed_dim: 768,
  encoder_depth: 12,
  decoder_depth: 1,
  num_heads: 12,
  mlp_ratio: 4,
  layer_norm_eps: 1e-6,
  n_code: 8192,
  code_dim: 32,
  decoder_out_dim: 512,
  decay: 0.99,
} as const;

/** The official tokenizers: file name -> what differs from the defaults. */
export const OFFICIAL_TOKENIZERS: Readonly<Record<string, { decoder_depth: number; decoder_out_dim: number }>> = {
  vqkd_encoder_base_decoder_1x768x12_clip: { decoder_depth: 1, decoder_out_dim: 512 },
  vqkd_encoder_base_decoder_3x768x12_clip: { decoder_depth: 3, decoder_out_dim: 512 },
  vqkd_encoder_base_decoder_1x768x12_dino: { decoder_depth: 1, decoder_out_dim: 768 },
};

/** A config from flat parsed JSON such as `VQKD_DEFAULTS`. Throws InputError, one sentence, for wrong fields. */
export function parseVqKdConfig(given: Readonly<Record<string, unknown>>, source: string): VqKdConfig {
  const merged: Record<string, unknown> = { ...VQKD_DEFAULTS };
  for (const key of Object.keys(VQKD_DEFAULTS)) if ((given[key] ?? null) !== null) merged[key] = given[key];
  const whole = (key: string, most: number): number => {
    const v = merged[key];
    if (Number.isInteger(v) && (v as number) >= 1 && (v as number) <= most) return v as number;
    throw new InputError(
      `${source}: expected ${key} to be a whole number from 1 to ${most}, got ${JSON.stringify(v)}.`,
    );
  };
  const { decay } = merged;
  if (typeof decay !== 'number' || !(decay >= 0 && decay < 1))
    throw new InputError(`${source}: expected decay to be a number from 0 to below 1, got ${JSON.stringify(decay)}.`);
  const code_dim = whole('code_dim', 1 << 12);
  const encoder = parseViTConfig({ ...merged, depth: whole('encoder_depth', 1024) }, source, VIT_DEFAULTS);
  const grid = gridOf(encoder);
  const sizes = { ...merged, depth: whole('decoder_depth', 1024), img_size: grid, patch_size: 1, in_chans: code_dim };
  return {
    encoder,
    decoder: parseViTConfig(sizes, source, VIT_DEFAULTS),
    n_code: whole('n_code', 1 << 20),
    code_dim,
    decoder_out_dim: whole('decoder_out_dim', 1 << 16),
    decay,
  };
}

/** The flat JSON that `parseVqKdConfig` reads. */
export function describeVqKd(config: VqKdConfig): Record<string, unknown> {
  const { encoder, decoder, n_code, code_dim, decoder_out_dim, decay } = config;
  const { img_size, patch_size, embed_dim, num_heads, mlp_ratio, layer_norm_eps } = encoder;
  const depths = { encoder_depth: encoder.depth, decoder_depth: decoder.depth };
  return {
    img_size,
    patch_size,
    embed_dim,
    ...depths,
    num_heads,
    mlp_ratio,
    layer_norm_eps,
    n_code,
    code_dim,
    decoder_out_dim,
    decay,
  };
}

import type { Initializer } from '../../nn/init.js';
import * as init from '../../nn/init.js';
import type { LinearOptions } from '../../nn/layers.js';
import type { Beit3Config } from '../config.js';

/**
 * How fresh weights are drawn.
 * - `official`: what the reference's fine-tuning models start from: normal with standard deviation 0.02 cut at one
 *   deviation, zero biases, position tables N(0, 1). Made for large widths; at width 128 it hardly starts to learn.
 * - `magneto`: Xavier with the sub-LayerNorm gain sqrt(ln 2L) on value, output and feed-forward weights (Wang et al.
 *   2022, as torchscale computes it), position tables N(0, 0.02). Learns from scratch at small sizes.
 * - `paper`: as the paper pretrains (after BEiT; Bao et al. 2022): everything uniform in +-0.02, then the output matrices
 *   of attention and feed-forward in layer l (from 1) divided by sqrt(2 l). Made for large widths too.
 */
export type Initialisation = 'official' | 'magneto' | 'paper';

export const INITIALISATIONS: readonly Initialisation[] = ['official', 'magneto', 'paper'];

const RANGE = 0.02;

export type LinearRole = 'query' | 'key' | 'value' | 'output' | 'ffn' | 'ffn output' | 'head';

/** Initialisers of a Linear by its role in the model; `layer` counts from 1. */
export function linearInit(kind: Initialisation, role: LinearRole, config: Beit3Config, layer = 1): LinearOptions {
  if (kind === 'paper') {
    const isOutput = role === 'output' || role === 'ffn output';
    return {
      weight: init.scaled(init.uniform(-RANGE, RANGE), isOutput ? 1 / Math.sqrt(2 * layer) : 1),
      biasInit: init.zeros,
    };
  }
  if (kind === 'official' || role === 'head') return { weight: init.truncatedNormal(0.02), biasInit: init.zeros };
  const projection = role === 'query' || role === 'key' || role === 'value';
  const gain = projection ? Math.SQRT1_2 : 1;
  const subln = role === 'query' || role === 'key' ? 1 : Math.sqrt(Math.log(2 * config.encoder_layers));
  return { weight: init.xavierUniform(gain * Math.max(subln, 1e-3)), biasInit: init.zeros };
}

export function positionInit(kind: Initialisation): Initializer {
  if (kind === 'paper') return init.uniform(-RANGE, RANGE);
  return init.normal(kind === 'official' ? 1 : 0.02);
}

export function wordInit(config: Beit3Config, kind: Initialisation): Initializer {
  if (kind === 'paper') return init.uniform(-RANGE, RANGE);
  return init.normal(config.encoder_embed_dim ** -0.5);
}

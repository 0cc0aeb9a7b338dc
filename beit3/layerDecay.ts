import type { Parameter } from '../nn/builder.js';
import type { Module } from '../nn/module.js';
import type { ParameterGroup } from '../nn/optim.js';

const NO_DECAY = new Set(['beit3.encoder.embed_positions.A.weight', 'beit3.vision_embed.cls_token', 'logit_scale']);

export interface LayerDecayOptions {
  /** Number of encoder layers. */
  readonly layers: number;
  /** Factor on the learning rate from each layer to the one below; 1 for none. */
  readonly layerDecay?: number;
  /** Factor on the learning rate of the head; counts above 1, and only without layer decay. */
  readonly headLrWeight?: number;
  readonly weightDecay?: number;
  /** Where a name lies, and which tensors beside vectors do not decay, in another model than BEiT-3. */
  readonly naming?: ParameterNaming;
}

/** What the names of a model's parameters tell. */
export interface ParameterNaming {
  /** Depth: 0 for embeddings, 1 to L for the layers, L + 1 for what comes after. */
  layerOf(name: string, layers: number): number;
  /** Parameters without weight decay besides biases, norms and other vectors. */
  readonly noDecay: ReadonlySet<string>;
}

/** Depth of a parameter by its name: 0 for embeddings, 1 to L for the layers, L + 1 for what comes after. */
export function layerOf(name: string, layers: number): number {
  if (name.includes('embed')) return 0;
  const match = /layers\.(\d+)\./.exec(name);
  return match ? Number(match[1]) + 1 : layers + 1;
}

const BEIT3_NAMING: ParameterNaming = { layerOf, noDecay: NO_DECAY };

/** One optimiser group per parameter, with the reference's layer-wise learning rates and weight decay. */
export function layerDecayGroups(
  model: Module,
  { layers, layerDecay = 1, headLrWeight = 0, weightDecay = 0.05, naming = BEIT3_NAMING }: LayerDecayOptions,
): ParameterGroup[] {
  const scaleOf = (name: string): number => {
    if (layerDecay < 1) return layerDecay ** (layers + 1 - naming.layerOf(name, layers));
    return headLrWeight > 1 && name.startsWith('head') ? headLrWeight : 1;
  };
  return Array.from(model.namedParameters(), ([name, parameter]: [string, Parameter]) => ({
    parameters: [[name, parameter]],
    lrScale: scaleOf(name),
    weightDecay: parameter.rank === 1 || name.endsWith('.bias') || naming.noDecay.has(name) ? 0 : weightDecay,
  }));
}

import type { ParameterNaming } from '../layerDecay.js';

const EMBEDDINGS = /^(cls_token$|mask_token$|pos_embed$|patch_embed\.)/;

/** Depth and weight decay of the parameters of a BEiT by their names, as its optimiser has them. */
export const VIT_NAMING: ParameterNaming = {
  layerOf: (name, layers) => {
    if (EMBEDDINGS.test(name)) return 0;
    const match = /^blocks\.(\d+)\./.exec(name);
    return match ? Number(match[1]) + 1 : layers + 1;
  },
  noDecay: new Set(['pos_embed', 'cls_token']),
};

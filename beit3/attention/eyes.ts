/** Models whose attention can be watched, from checkpoints of every family. */
import { openCheckpoint, type SourceLike } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import { atImageSize, configOf, type LoadOptions, makeFilled } from '../checkpoint.js';

import type { Beit3Config } from '../config.js';
import { holdsBeit, holdsTokenizer } from '../family.js';
import type { ImagePipeline } from '../images/index.js';
import { inferConfig } from '../infer.js';
import { Backbone } from '../model/backbone.js';
import type { Beit3Input } from '../model/beit3.js';
import type { SessionSizes } from '../pipeline/session.js';
import { loadBeit } from '../vit/checkpoint.js';
import type { ViTConfig } from '../vit/config.js';
import type { VisionTransformer } from '../vit/visionTransformer.js';
import { loadVqKd } from '../vqkd/checkpoint.js';

/** What tells, before each layer of every pass, of the probabilities [B, H, L, L] of its attention. */
interface Watched {
  onAttention: ((probabilities: () => Tensor, layer: number) => void) | null;
}

export interface Eyes {
  /** All that is to be freed in the end. */
  readonly model: Module;
  readonly watched: Watched;
  readonly layers: number;
  readonly heads: number;
  readonly sizes: SessionSizes;
  /** Whose mean and deviation the pictures are normalised with. */
  readonly statistics: ImagePipeline;
  /** The config that a tokenizer must fit; null where no texts are read. */
  readonly words: Beit3Config | null;
  look(input: Pick<Beit3Input, 'text' | 'padding'> & { readonly image: Tensor }): void;
}

/** The model of a checkpoint. `reads` tells whether texts will be read too. Throws InputError. */
export async function openEyes(source: SourceLike, loading: LoadOptions, reads: boolean): Promise<Eyes> {
  const name = typeof source === 'string' ? source : 'The checkpoint';
  const checkpoint = await openCheckpoint(source);
  try {
    const isTokenizer = holdsTokenizer(checkpoint);
    const isBeit = holdsBeit(checkpoint);
    if (reads && (isTokenizer || isBeit))
      throw new InputError(
        `${name} holds a ${isBeit ? 'BEiT' : 'visual tokenizer'}, which reads no texts; leave --text out.`,
      );
    if (isTokenizer) return await tokenizerEyes(source, loading);
    if (isBeit) {
      const { model, spec } = await loadBeit(source, { ...loading, trunk: true });
      return visionEyes(model, model, spec.config, spec.statistics);
    }
    const inferred = inferConfig(checkpoint.tensors, name, await configOf(checkpoint, source, loading));
    const config = atImageSize(inferred, loading.imageSize);
    const make = (b: Builder) => new Backbone(b, config, { A: true, B: reads });
    const { model } = await makeFilled(make, checkpoint.tensors, name, loading);
    model.eval();
    return {
      model,
      watched: model.beit3,
      layers: config.encoder_layers,
      heads: config.encoder_attention_heads,
      sizes: config,
      statistics: 'vl',
      words: reads ? config : null,
      look: (input) => void model.beit3.forward(input),
    };
  } finally {
    await checkpoint.close();
  }
}

async function tokenizerEyes(source: SourceLike, { backend, imageSize, onProgress }: LoadOptions): Promise<Eyes> {
  const { model, config } = await loadVqKd(source, { backend, onProgress });
  const { img_size } = config.encoder;
  if (imageSize === undefined || imageSize === img_size) return visionEyes(model, model.encoder, config.encoder, 'vl');
  model.dispose();
  throw new InputError(`A visual tokenizer looks at pictures of its own size, ${img_size}; leave --image-size out.`);
}

function visionEyes(model: Module, vision: VisionTransformer, config: ViTConfig, statistics: ImagePipeline): Eyes {
  return {
    model,
    watched: vision,
    layers: config.depth,
    heads: config.num_heads,
    sizes: config,
    statistics,
    words: null,
    look: ({ image }) => void vision.hidden(image),
  };
}

import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { add, affine, mean, permute, reshape } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { Linear, Sequential, Tanh } from '../../nn/layers.js';
import { cosineSimilarity } from '../../nn/losses.js';
import { Module } from '../../nn/module.js';
import { gridOf } from '../vit/config.js';
import { VisionTransformer } from '../vit/visionTransformer.js';
import type { VqKdConfig } from './config.js';
import type { ImageTokenizer } from './imageTokenizer.js';
import { NormEmaQuantizer } from './quantizer.js';

/** What a training pass gives; scalars and the codes. */
export interface VqKdLosses {
  /** `reconstruction` + `commitment`. */
  readonly loss: Tensor;
  /** 1 - cosine of the teacher's features and ours, meaned over patches. */
  readonly reconstruction: Tensor;
  readonly commitment: Tensor;
  /** int32 [B * P]. */
  readonly ids: Tensor;
}

const NO_HEAD = { classes: 0, pooling: 'mean' } as const;

/**
 * The visual tokenizer of BEiT v2 (Peng et al. 2022): an encoder whose patches are quantised, and a decoder that must tell
 * a teacher's features from the codes alone. Fields have the official names.
 */
export class VqKd extends Module implements ImageTokenizer {
  readonly encoder: VisionTransformer;
  readonly decoder: VisionTransformer;
  readonly quantize: NormEmaQuantizer;
  readonly encode_task_layer: Sequential;
  readonly decode_task_layer: Sequential;
  readonly #config: VqKdConfig;

  constructor(b: Builder, config: VqKdConfig) {
    super();
    const { encoder, decoder, n_code: codes, code_dim: width, decoder_out_dim, decay } = config;
    this.encoder = new VisionTransformer(b.at('encoder'), encoder, NO_HEAD);
    this.decoder = new VisionTransformer(b.at('decoder'), decoder, NO_HEAD);
    this.quantize = new NormEmaQuantizer(b.at('quantize'), { codes, width, decay });
    this.encode_task_layer = taskLayer(b.at('encode_task_layer'), encoder.embed_dim, width);
    this.decode_task_layer = taskLayer(b.at('decode_task_layer'), decoder.embed_dim, decoder_out_dim);
    this.#config = config;
  }

  get codes(): number {
    return this.#config.n_code;
  }

  get imageSize(): number {
    return this.#config.encoder.img_size;
  }

  get grid(): number {
    return gridOf(this.#config.encoder);
  }

  /** Pictures [B, 3, S, S], normalised as BEiT-3's are, -> what is quantised, [B * P, code_dim]. */
  project(images: Tensor): Tensor {
    const features = this.encode_task_layer.forward(this.encoder.patches(images));
    return reshape(features, [-1, features.shape[2]]);
  }

  encode(images: Tensor): Tensor {
    return noGrad(() => scope(() => reshape(this.quantize.nearest(this.project(images)), [images.shape[0], -1])));
  }

  /** Code vectors [B * P, code_dim] -> the teacher's features as far as they tell, [B, P, decoder_out_dim]. */
  decode(vectors: Tensor): Tensor {
    const { grid } = this;
    const map = permute(reshape(vectors, [-1, grid, grid, vectors.shape[1]]), [0, 3, 1, 2]);
    return this.decode_task_layer.forward(this.decoder.patches(map));
  }

  /** Pictures and the teacher's features [B, P, decoder_out_dim] of them. */
  forward(images: Tensor, target: Tensor): VqKdLosses {
    const { vectors, ids, loss: commitment } = this.quantize.forward(this.project(images));
    const reconstruction = affine(mean(cosineSimilarity(this.decode(vectors), target)), -1, 1);
    return { loss: add(commitment, reconstruction), reconstruction, commitment, ids };
  }
}

function taskLayer(b: Builder, from: number, to: number): Sequential {
  const options = { weight: init.truncatedNormal(0.02), biasInit: init.zeros };
  return new Sequential(new Linear(b.at(0), from, from, options), new Tanh(), new Linear(b.at(2), from, to, options));
}

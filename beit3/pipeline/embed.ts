import { openCheckpoint } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { cat, select } from '../../core/ops/index.js';
import type { Builder } from '../../nn/builder.js';
import { atImageSize, configOf, loadModel, makeFilled } from '../checkpoint.js';
import type { Beit3Config } from '../config.js';
import type { Retrieval } from '../heads/index.js';
import { inferConfig } from '../infer.js';
import { Backbone } from '../model/backbone.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { ImageSource } from './images.js';
import type { PipelineOptions } from './options.js';
import { loadOptions, openBackend, Session, valuesOf } from './session.js';
import { loadTokenizer } from './texts.js';

export interface EmbedOptions extends PipelineOptions {
  /** What will be embedded: for images alone or texts alone less is loaded. Default 'both'. */
  readonly inputs?: EmbedInputs;
}

const INPUTS = ['image', 'text', 'both'] as const;
type EmbedInputs = (typeof INPUTS)[number];

interface Loaded {
  readonly model: Backbone | Retrieval;
  readonly config: Beit3Config;
  readonly hasHeads: boolean;
}

/**
 * Turns images and texts into vectors [D]. A retrieval checkpoint gives the unit vectors of its two heads. Any other
 * gives what the encoder puts out at [CLS] (images) and <s> (texts); for a pair, image and text are read together.
 */
export class EmbedPipeline extends Session<Backbone | Retrieval> {
  readonly #hasHeads: boolean;
  readonly #inputs: EmbedInputs;

  private constructor(
    backend: Backend,
    { model, config, hasHeads }: Loaded,
    tokenizer: Tokenizer | null,
    inputs: EmbedInputs,
  ) {
    super(backend, model, { config }, tokenizer, { pipeline: 'vl' });
    this.#hasHeads = hasHeads;
    this.#inputs = inputs;
  }

  static async create(options: EmbedOptions): Promise<EmbedPipeline> {
    const { inputs = 'both' } = options;
    if (!INPUTS.includes(inputs)) throw new InputError(`Expected inputs to be image, text or both, got ${inputs}.`);
    const backend = await openBackend(options);
    const loaded = await load(options, backend);
    try {
      const tokenizer = inputs === 'image' ? null : await loadTokenizer(options, loaded.config);
      return new EmbedPipeline(backend, loaded, tokenizer, inputs);
    } catch (error) {
      loaded.model.dispose();
      throw error;
    }
  }

  /** Length of the vectors. */
  get dimension(): number {
    return this.spec.config.encoder_embed_dim;
  }

  /** The vector of an image, of a text, or of each of a pair. */
  run(input: {
    readonly image: ImageSource;
    readonly text: string;
  }): Promise<{ image: Float32Array; text: Float32Array }>;
  run(input: { readonly image: ImageSource }): Promise<{ image: Float32Array }>;
  run(input: { readonly text: string }): Promise<{ text: Float32Array }>;
  async run({
    image,
    text,
  }: {
    readonly image?: ImageSource;
    readonly text?: string;
  } = {}): Promise<{ image?: Float32Array; text?: Float32Array }> {
    if (image === undefined && text === undefined)
      throw new InputError('There is nothing to embed; give an image, a text or both.');
    if (image !== undefined && this.#inputs === 'text')
      throw new InputError("This pipeline was made for texts alone; make one without inputs: 'text'.");
    if (image !== undefined && text !== undefined && !this.#hasHeads) return this.#fused(image, text);
    const out: { image?: Float32Array; text?: Float32Array } = {};
    if (image !== undefined) out.image = await this.#image(image);
    if (text !== undefined) out.text = await this.#text(text);
    return out;
  }

  async #image(source: ImageSource): Promise<Float32Array> {
    const { model } = this;
    const pixels = await this.pixels([source]);
    return valuesOf(this.backend, () =>
      'vision_head' in model
        ? model.embedImage(pixels())
        : select(model.beit3.forward({ image: pixels() }).hidden, 1, 0),
    );
  }

  #text(source: string): Promise<Float32Array> {
    const { model } = this;
    const texts = this.texts([source]);
    return valuesOf(this.backend, () => {
      const { text, padding } = texts();
      return 'language_head' in model
        ? model.embedText(text, padding)
        : select(model.beit3.forward({ text, padding }).hidden, 1, 0);
    });
  }

  async #fused(image: ImageSource, source: string): Promise<{ image: Float32Array; text: Float32Array }> {
    const texts = this.texts([source]);
    const pixels = await this.pixels([image]);
    const both = await valuesOf(this.backend, () => {
      const { hidden, split } = this.model.beit3.forward({ image: pixels(), ...texts() });
      return cat([select(hidden, 1, 0), select(hidden, 1, split)], 0);
    });
    return { image: both.slice(0, this.dimension), text: both.slice(this.dimension) };
  }
}

async function load(options: EmbedOptions, backend: Backend): Promise<Loaded> {
  const { checkpoint: source, inputs = 'both' } = options;
  const loading = await loadOptions(options, backend);
  const checkpoint = await openCheckpoint(source);
  try {
    if (checkpoint.tensors.has('language_head.weight') && checkpoint.tensors.has('vision_head.weight')) {
      const { model, spec } = await loadModel(source, { ...loading, task: 'retrieval' });
      return { model, config: spec.config, hasHeads: true };
    }
    const name = typeof source === 'string' ? source : 'The checkpoint';
    const inferred = inferConfig(checkpoint.tensors, name, await configOf(checkpoint, source, loading));
    const config = atImageSize(inferred, loading.imageSize);
    const branches = { A: inputs !== 'text', B: inputs !== 'image' };
    const make = (b: Builder) => new Backbone(b, config, branches);
    const { model } = await makeFilled(make, checkpoint.tensors, name, { ...loading, backend });
    model.eval();
    return { model, config, hasHeads: false };
  } finally {
    await checkpoint.close();
  }
}

import { loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError, OpError } from '../../core/errors.js';
import { keep, scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { nextTurn } from '../../core/runtime.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import type { Module } from '../../nn/module.js';
import { type LoadOptions, loadModel, parseJson } from '../checkpoint.js';
import type { PictureSizes } from '../classifier.js';
import type { Beit3Config, ModelSpec, Task } from '../config.js';
import { expectFinite } from '../finite.js';
import type { TaskModels } from '../heads/index.js';
import type { Preprocessing } from '../images/index.js';
import { type ByteSource, readBytes, sourceName } from '../readBytes.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { type ImageSource, preparedImage } from './images.js';
import { loadLabels } from './labels.js';
import type { PipelineOptions } from './options.js';
import { encodeTexts, loadTokenizer } from './texts.js';

const MAX_CONFIG_BYTES = 1 << 20;

/** The backend of the options; it becomes the default one where there is none yet. */
export async function openBackend({ device = 'auto', adapter, threads }: PipelineOptions): Promise<Backend> {
  const backend = await loadBackend(device, { adapter, threads });
  const before = setDefaultBackend(backend);
  if (before !== null) setDefaultBackend(before);
  return backend;
}

/** How a checkpoint is loaded under the options. */
export async function loadOptions(options: PipelineOptions, backend: Backend): Promise<LoadOptions> {
  const { config, imageSize, onProgress } = options;
  const rest = { backend, imageSize, onProgress };
  if (config === undefined) return rest;
  if (!isSource(config)) return { ...rest, config, configName: 'The config' };
  const name = sourceName(config, 'The config');
  const bytes = await readBytes(config, { what: 'the config', maxBytes: MAX_CONFIG_BYTES });
  return { ...rest, config: parseJson(new TextDecoder().decode(bytes), name), configName: name };
}

function isSource(config: NonNullable<PipelineOptions['config']>): config is ByteSource {
  return (
    typeof config === 'string' ||
    config instanceof URL ||
    config instanceof Blob ||
    config instanceof Uint8Array ||
    config instanceof ArrayBuffer
  );
}

/** The values of what `fn` computes, with everything it made freed again. Throws InputError when they are not finite. */
export async function valuesOf(backend: Backend, fn: () => Tensor): Promise<Float32Array> {
  const before = setDefaultBackend(backend);
  let result: Tensor;
  try {
    result = keep(noGrad(() => scope(fn)));
  } finally {
    setDefaultBackend(before);
  }
  let values: Float32Array;
  try {
    values = (await result.data()) as Float32Array;
  } finally {
    result.dispose();
  }
  await nextTurn();
  expectFinite(values);
  return values;
}

/** Sizes that sessions ask for; those that read texts have room for them. */
export type SessionSizes = PictureSizes & Partial<Pick<Beit3Config, 'max_source_positions'>>;

/** A model ready to answer: what every pipeline holds and frees. */
export abstract class Session<M extends Module, C extends SessionSizes = Beit3Config> {
  protected constructor(
    protected readonly backend: Backend,
    protected readonly model: M,
    protected readonly spec: { readonly config: C },
    /** The tokenizer; null for a task without text. */
    protected readonly tokenizer: Tokenizer | null,
    private readonly preprocessing: Preprocessing,
  ) {}

  #disposed = false;

  /** Frees the weights. The pipeline cannot be used afterwards; disposing it twice does nothing. */
  dispose(): void {
    this.#disposed = true;
    this.model.dispose();
  }

  /** Throws InputError when the weights were freed, be it while an image was decoded. */
  #expectWeights(): void {
    if (this.#disposed) throw new InputError('This pipeline was disposed; make a new one with pipeline(...).');
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** float32 [B, C, S, S] for the model. Made before a scope is entered: decoding takes time. */
  protected async pixels(images: readonly ImageSource[]): Promise<() => Tensor> {
    this.#expectWeights();
    const { img_size: S, in_chans: C, image_background: background } = this.spec.config;
    if (C !== 3) throw new OpError('pipeline', `expected a model of 3 image channels, got ${C}`);
    const each = C * S * S;
    const values = new Float32Array(images.length * each);
    // One after the other, so that only one large photograph is decoded at a time.
    for (const [b, image] of images.entries()) {
      values.set(await preparedImage(image, S, this.preprocessing, background), b * each);
    }
    return () => {
      this.#expectWeights();
      return tensor(values, { shape: [images.length, C, S, S], backend: this.backend });
    };
  }

  /** Token ids int32 [B, T] and padding bool [B, T] (null when nothing is padded). */
  protected texts(texts: readonly string[]): () => { text: Tensor; padding: Tensor | null } {
    this.#expectWeights();
    if (this.tokenizer === null)
      throw new InputError("This pipeline was made for images alone; make one without inputs: 'image'.");
    const { max_source_positions = 0 } = this.spec.config;
    const { ids, padding, shape } = encodeTexts(this.tokenizer, texts, { max_source_positions });
    return () => ({
      text: tensor(ids, { shape, backend: this.backend }),
      padding: padding && tensor(padding, { shape, dtype: 'bool', backend: this.backend }),
    });
  }
}

/** The parts of a task's session. Nothing stays behind when one of them cannot be had. */
export interface Parts<T extends Task> {
  readonly backend: Backend;
  readonly model: TaskModels[T];
  readonly spec: ModelSpec & { readonly task: T };
  readonly tokenizer: Tokenizer | null;
  readonly labels: readonly string[] | null;
}

export async function loadParts<T extends Task>(
  task: T,
  options: PipelineOptions,
  needs: { readonly text?: boolean; readonly labels?: boolean },
): Promise<Parts<T>> {
  const backend = await openBackend(options);
  const { model, spec } = await loadModel(options.checkpoint, { ...(await loadOptions(options, backend)), task });
  try {
    const tokenizer = needs.text ? await loadTokenizer(options, spec.config) : null;
    const labels =
      needs.labels && options.labels !== undefined ? await loadLabels(options.labels, spec.numClasses) : null;
    return { backend, model, spec, tokenizer, labels };
  } catch (error) {
    (model as Module).dispose();
    throw error;
  }
}

import { InputError } from '../../core/errors.js';
import type { Retrieval } from '../heads/index.js';
import type { ImageSource } from './images.js';
import type { PipelineOptions } from './options.js';
import { topIndices } from './scores.js';
import { loadParts, type Parts, Session, valuesOf } from './session.js';

/** A candidate and how near it is to what was looked for. */
export interface Match<C> {
  readonly candidate: C;
  /** Its place among the candidates given. */
  readonly index: number;
  /** Cosine, -1 to 1. */
  readonly similarity: number;
}

/** Images for a text. */
export interface ImageSearch<C extends ImageSource = ImageSource> {
  readonly text: string;
  readonly images: readonly C[];
}

/** Texts for an image. */
export interface TextSearch {
  readonly image: ImageSource;
  readonly texts: readonly string[];
}

export interface RetrieveOptions {
  /** Matches that come back; default all. */
  readonly top?: number;
  /** Called after each batch of candidates. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Inputs that go through the model together. */
const BATCH = 8;

/** Finds images for a text, or texts for an image. */
export class RetrievePipeline extends Session<Retrieval> {
  private constructor({ backend, model, spec, tokenizer }: Parts<'retrieval'>) {
    super(backend, model, spec, tokenizer, { pipeline: 'vl' });
  }

  static async create(options: PipelineOptions): Promise<RetrievePipeline> {
    return new RetrievePipeline(await loadParts('retrieval', options, { text: true }));
  }

  /** The candidates by falling similarity. */
  run<C extends ImageSource>(search: ImageSearch<C>, options?: RetrieveOptions): Promise<Match<C>[]>;
  run(search: TextSearch, options?: RetrieveOptions): Promise<Match<string>[]>;
  async run(search: ImageSearch | TextSearch, options: RetrieveOptions = {}): Promise<Match<ImageSource>[]> {
    const { top } = options;
    if (top !== undefined && !(Number.isInteger(top) && top >= 1)) {
      throw new InputError(`The number of matches must be a whole number of 1 or more, got ${top}.`);
    }
    if (!isSearch(search))
      throw new InputError('Expected { text, images: [...] } or { image, texts: [...] } to search.');
    const toImages = 'images' in search;
    const candidates: readonly ImageSource[] = toImages ? search.images : search.texts;
    if (candidates.length === 0)
      throw new InputError(`There is nothing to search in; give at least one ${toImages ? 'image' : 'text'}.`);
    const query = toImages ? await this.#texts([search.text]) : await this.#images([search.image]);
    const similarities: number[] = [];
    for (let at = 0; at < candidates.length; at += BATCH) {
      const batch = candidates.slice(at, at + BATCH);
      const features = toImages ? await this.#images(batch) : await this.#texts(batch as string[]);
      for (let b = 0; b < batch.length; b++) similarities.push(dot(query, features, b * query.length));
      options.onProgress?.(similarities.length, candidates.length);
    }
    return topIndices(similarities, top ?? candidates.length).map((index) => ({
      candidate: candidates[index],
      index,
      similarity: similarities[index],
    }));
  }

  async #images(images: readonly ImageSource[]): Promise<Float32Array> {
    const pixels = await this.pixels(images);
    return valuesOf(this.backend, () => this.model.embedImage(pixels()));
  }

  #texts(texts: readonly string[]): Promise<Float32Array> {
    const make = this.texts(texts);
    return valuesOf(this.backend, () => {
      const { text, padding } = make();
      return this.model.embedText(text, padding);
    });
  }
}

function isSearch(search: Partial<ImageSearch & TextSearch> | undefined): boolean {
  const { text, images, image, texts } = search ?? {};
  if (image === undefined) return text !== undefined && texts === undefined && Array.isArray(images);
  return text === undefined && images === undefined && Array.isArray(texts);
}

function dot(a: Float32Array, b: Float32Array, start: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[start + i];
  return sum;
}

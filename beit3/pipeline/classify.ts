import type { ImageClassification } from '../heads/index.js';
import type { ImageSource } from './images.js';
import type { PipelineOptions, TopOptions } from './options.js';
import { softmax, topCount, topIndices } from './scores.js';
import { loadParts, type Parts, Session, valuesOf } from './session.js';

/** A class and how likely it is. */
export interface Classification {
  readonly index: number;
  /** The class's name, or its number where no labels were given. */
  readonly label: string;
  /** 0 to 1; all classes sum to 1. */
  readonly probability: number;
}

/** Says what an image shows. Only the vision half of the weights is loaded. */
export class ClassifyPipeline extends Session<ImageClassification> {
  readonly #labels: readonly string[] | null;

  private constructor({ backend, model, spec, labels }: Parts<'imageclassification'>) {
    super(backend, model, spec, null, 'imagenet');
    this.#labels = labels;
  }

  static async create(options: PipelineOptions): Promise<ClassifyPipeline> {
    return new ClassifyPipeline(await loadParts('imageclassification', options, { labels: true }));
  }

  /** The likeliest classes of an image, best first. */
  async run(image: ImageSource, { top }: TopOptions = {}): Promise<Classification[]> {
    const count = topCount(top);
    const pixels = await this.pixels([image]);
    const probabilities = softmax(await valuesOf(this.backend, () => this.model.forward(pixels())));
    return topIndices(probabilities, count).map((index) => ({
      index,
      label: this.#labels?.[index] ?? String(index),
      probability: probabilities[index],
    }));
  }
}

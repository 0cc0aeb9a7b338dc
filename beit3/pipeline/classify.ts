import type { Backend } from '../../core/backend.js';
import { type LoadedClassifier, loadClassifier, type PictureSizes } from '../classifier.js';
import type { ImageClassifier } from '../heads/index.js';
import type { ImageSource } from './images.js';
import { loadLabels } from './labels.js';
import type { PipelineOptions, TopOptions } from './options.js';
import { softmax, topCount, topIndices } from './scores.js';
import { loadOptions, openBackend, Session, valuesOf } from './session.js';

/** A class and how likely it is. */
export interface Classification {
  readonly index: number;
  /** The class's name, or its number where no labels were given. */
  readonly label: string;
  /** 0 to 1; all classes sum to 1. */
  readonly probability: number;
}

/** Says what an image shows: a BEiT-3, of which only the vision half of the weights is loaded, or a BEiT or BEiT v2. */
export class ClassifyPipeline extends Session<ImageClassifier, PictureSizes> {
  private constructor(
    backend: Backend,
    { model, sizes, preprocessing }: LoadedClassifier,
    private readonly labels: readonly string[] | null,
  ) {
    super(backend, model, { config: sizes }, null, preprocessing);
  }

  static async create(options: PipelineOptions): Promise<ClassifyPipeline> {
    const backend = await openBackend(options);
    const loaded = await loadClassifier(options.checkpoint, await loadOptions(options, backend));
    try {
      const { labels } = options;
      return new ClassifyPipeline(
        backend,
        loaded,
        labels === undefined ? null : await loadLabels(labels, loaded.classes),
      );
    } catch (error) {
      loaded.model.dispose();
      throw error;
    }
  }

  /** The likeliest classes of an image, best first. */
  async run(image: ImageSource, { top }: TopOptions = {}): Promise<Classification[]> {
    const count = topCount(top);
    const pixels = await this.pixels([image]);
    const probabilities = softmax(await valuesOf(this.backend, () => this.model.forward(pixels())));
    return topIndices(probabilities, count).map((index) => ({
      index,
      label: this.labels?.[index] ?? String(index),
      probability: probabilities[index],
    }));
  }
}

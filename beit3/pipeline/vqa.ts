import type { VisualQuestionAnswering } from '../heads/index.js';
import type { ImageSource } from './images.js';
import type { PipelineOptions, TopOptions } from './options.js';
import { sigmoid, topCount, topIndices } from './scores.js';
import { loadParts, type Parts, Session, valuesOf } from './session.js';

/** An answer and how sure the model is of it. */
export interface Answer {
  readonly index: number;
  /** The answer's words, or its number where no labels were given. */
  readonly answer: string;
  /** 0 to 1, each answer apart: several may be right. */
  readonly score: number;
}

/** Answers questions about an image from the list of answers that the model knows. */
export class VqaPipeline extends Session<VisualQuestionAnswering> {
  readonly #labels: readonly string[] | null;

  private constructor({ backend, model, spec, tokenizer, labels }: Parts<'vqav2'>) {
    super(backend, model, spec, tokenizer, { pipeline: 'vl' });
    this.#labels = labels;
  }

  static async create(options: PipelineOptions): Promise<VqaPipeline> {
    return new VqaPipeline(await loadParts('vqav2', options, { text: true, labels: true }));
  }

  /** The best answers to a question about an image, best first. */
  async run(image: ImageSource, question: string, { top }: TopOptions = {}): Promise<Answer[]> {
    const count = topCount(top);
    const texts = this.texts([question]);
    const pixels = await this.pixels([image]);
    const logits = await valuesOf(this.backend, () => {
      const { text, padding } = texts();
      return this.model.forward(pixels(), text, padding);
    });
    const scores = sigmoid(logits);
    // Of several scores that round to 1 the larger logit is still the better answer.
    return topIndices(logits, count).map((index) => ({
      index,
      answer: this.#labels?.[index] ?? String(index),
      score: scores[index],
    }));
  }
}

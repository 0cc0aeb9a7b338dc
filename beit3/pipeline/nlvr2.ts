import type { VisualReasoning } from '../heads/index.js';
import type { ImageSource } from './images.js';
import type { PipelineOptions } from './options.js';
import { softmax } from './scores.js';
import { loadParts, type Parts, Session, valuesOf } from './session.js';

/** Whether a sentence is true of two images. */
export interface Judgement {
  readonly answer: boolean;
  /** Probability that the sentence is true, 0 to 1. */
  readonly probability: number;
}

/** Class of the head that stands for "true". */
const TRUE = 1;

/** Judges sentences about two images. */
export class Nlvr2Pipeline extends Session<VisualReasoning> {
  private constructor({ backend, model, spec, tokenizer }: Parts<'nlvr2'>) {
    super(backend, model, spec, tokenizer, { pipeline: 'vl' });
  }

  static async create(options: PipelineOptions): Promise<Nlvr2Pipeline> {
    return new Nlvr2Pipeline(await loadParts('nlvr2', options, { text: true }));
  }

  /** Is the sentence true of the left and the right image? */
  async run(left: ImageSource, right: ImageSource, sentence: string): Promise<Judgement> {
    const texts = this.texts([sentence]);
    const pixels = [await this.pixels([left]), await this.pixels([right])];
    const logits = await valuesOf(this.backend, () => {
      const { text, padding } = texts();
      return this.model.forward(pixels[0](), pixels[1](), text, padding);
    });
    const probability = softmax(logits)[TRUE];
    return { answer: probability > 0.5, probability };
  }
}

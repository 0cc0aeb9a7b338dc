import { InputError } from '../../core/errors.js';
import { keep } from '../../core/memory.js';
import { generate } from '../generate.js';
import type { Captioning } from '../heads/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { ImageSource } from './images.js';
import type { PipelineOptions } from './options.js';
import { loadParts, type Parts, Session } from './session.js';
import { captionOf, longestText } from './texts.js';

/** How captions are searched for. */
export interface CaptionOptions {
  /** Hypotheses kept at a time; default 3. */
  readonly beams?: number;
  /** Tokens at most, <s> and </s> included; default 20. */
  readonly maxLength?: number;
  /** Larger favours longer captions; default 0.6. */
  readonly lengthPenalty?: number;
}

/** A sentence about an image. */
export interface ImageCaption {
  readonly text: string;
  /** Log-probability over length ^ lengthPenalty: nearer to 0 is surer. */
  readonly score: number;
  /** The token ids of the words. */
  readonly ids: number[];
}

const DEFAULT_LENGTH = 20;

/** Describes images in words. */
export class CaptionPipeline extends Session<Captioning> {
  readonly #tokenizer: Tokenizer;

  private constructor({ backend, model, spec }: Parts<'captioning'>, tokenizer: Tokenizer) {
    super(backend, model, spec, tokenizer, { pipeline: 'vl' });
    this.#tokenizer = tokenizer;
  }

  static async create(options: PipelineOptions): Promise<CaptionPipeline> {
    const parts = await loadParts('captioning', options, { text: true });
    return new CaptionPipeline(parts, parts.tokenizer as Tokenizer);
  }

  /** One sentence about an image. */
  async run(image: ImageSource, { beams, maxLength, lengthPenalty }: CaptionOptions = {}): Promise<ImageCaption> {
    const most = longestText(this.spec.config);
    if (maxLength !== undefined && maxLength > most) {
      throw new InputError(
        `The longest caption was set to ${maxLength} tokens, but this model takes at most ${most}; ask for less.`,
      );
    }
    if (lengthPenalty !== undefined && !Number.isFinite(lengthPenalty)) {
      throw new InputError(`The length penalty must be a number, got ${lengthPenalty}.`);
    }
    const pixels = await this.pixels([image]);
    const input = keep(pixels());
    try {
      const [caption] = await generate(this.model, input, {
        numBeams: beams,
        maxLength: maxLength ?? Math.min(DEFAULT_LENGTH, most),
        lengthPenalty,
        maskId: this.#tokenizer.maskId,
      });
      return { ...captionOf(this.#tokenizer, caption.ids), score: caption.score };
    } finally {
      input.dispose();
    }
  }
}

/** BEiT-3 in three lines: `pipeline(task, options)` loads a checkpoint and returns an object with one method, `run`. */
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import { CaptionPipeline } from './caption.js';
import { ClassifyPipeline } from './classify.js';
import { type EmbedOptions, EmbedPipeline } from './embed.js';
import { Nlvr2Pipeline } from './nlvr2.js';
import type { PipelineOptions } from './options.js';
import { RetrievePipeline } from './retrieve.js';
import { VqaPipeline } from './vqa.js';

export type { CaptionOptions, CaptionPipeline, ImageCaption } from './caption.js';
export type { Classification, ClassifyPipeline } from './classify.js';
export type { EmbedOptions, EmbedPipeline } from './embed.js';
export type { ImageSource } from './images.js';
export { loadLabels, parseLabels } from './labels.js';
export type { Judgement, Nlvr2Pipeline } from './nlvr2.js';
export type { PipelineOptions, TopOptions } from './options.js';
export type { ImageSearch, Match, RetrieveOptions, RetrievePipeline, TextSearch } from './retrieve.js';
export type { Answer, VqaPipeline } from './vqa.js';

/** Task -> its pipeline. */
export interface Pipelines {
  readonly classify: ClassifyPipeline;
  readonly vqa: VqaPipeline;
  readonly nlvr2: Nlvr2Pipeline;
  readonly caption: CaptionPipeline;
  readonly retrieve: RetrievePipeline;
  readonly embed: EmbedPipeline;
}

export type PipelineTask = keyof Pipelines;

const MAKERS: { readonly [T in PipelineTask]: (options: EmbedOptions) => Promise<Pipelines[T]> } = {
  classify: (options) => ClassifyPipeline.create(options),
  vqa: (options) => VqaPipeline.create(options),
  nlvr2: (options) => Nlvr2Pipeline.create(options),
  caption: (options) => CaptionPipeline.create(options),
  retrieve: (options) => RetrievePipeline.create(options),
  embed: (options) => EmbedPipeline.create(options),
};

/**
 * Loads a checkpoint for a task. The object that comes back has one method, `run`; nothing has to be freed between
 * runs, and `dispose()` frees the weights. Works in Node and in pages. Throws InputError, one sentence, for files that
 * are missing, damaged or do not fit together.
 */
export async function pipeline(task: 'embed', options: EmbedOptions): Promise<EmbedPipeline>;
export async function pipeline<T extends PipelineTask>(task: T, options: PipelineOptions): Promise<Pipelines[T]>;
export async function pipeline<T extends PipelineTask>(task: T, options: PipelineOptions): Promise<Pipelines[T]> {
  if (!Object.hasOwn(MAKERS, task)) {
    throw new InputError(
      `There is no pipeline named ${String(task)}; the nearest is ${nearest(String(task), Object.keys(MAKERS))}.`,
    );
  }
  if (options?.checkpoint === undefined)
    throw new InputError(`The ${task} pipeline needs a checkpoint; give a .pth or .safetensors file.`);
  return MAKERS[task](options);
}

import type { Builder } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import type { ModelSpec, Task } from '../config.js';
import { Captioning } from './captioning.js';
import { ImageClassification, type ImageClassifier } from './classification.js';
import type { HeadOptions } from './head.js';
import { VisualReasoning } from './nlvr2.js';
import { Retrieval } from './retrieval.js';
import { VisualQuestionAnswering } from './vqa.js';

export type { ImageClassifier } from './classification.js';
export type { HeadOptions } from './head.js';
export { Captioning, ImageClassification, Retrieval, VisualQuestionAnswering, VisualReasoning };

/** Task -> what its loss and its evaluation ask of a model. */
export interface TaskModels {
  readonly imageclassification: ImageClassifier;
  readonly vqav2: VisualQuestionAnswering;
  readonly nlvr2: VisualReasoning;
  readonly captioning: Captioning;
  readonly retrieval: Retrieval;
}

const MAKERS: { [T in Task]: new (b: Builder, spec: ModelSpec, options?: HeadOptions) => TaskModels[T] } = {
  imageclassification: ImageClassification,
  vqav2: VisualQuestionAnswering,
  nlvr2: VisualReasoning,
  captioning: Captioning,
  retrieval: Retrieval,
};

/** The model of a spec, with weights as the builder makes them. */
export function createModel<T extends Task>(
  b: Builder,
  spec: ModelSpec & { readonly task: T },
  options?: HeadOptions,
): TaskModels[T] {
  return new MAKERS[spec.task](b, spec, options);
}

export type AnyTaskModel = TaskModels[Task] & Module;

/** BEiT-3: pipelines for each task, the models and their checkpoints, tokenizer, images, metrics and proof of parity. */
export {
  configOf,
  describeSpec,
  type LoadedModel,
  type LoadOptions,
  loadModel,
  saveModel,
  specOf,
} from './checkpoint.js';
export { type ImageClassifier, type LoadedClassifier, loadClassifier, type PictureSizes } from './classifier.js';
export {
  type Beit3Config,
  MODELS,
  type ModelSpec,
  modelSpec,
  parseConfig,
  SIZES,
  TASKS,
  type Task,
} from './config.js';
export type {
  AnyBatch,
  CaptioningBatch,
  ClassificationBatch,
  ImageBatch,
  Nlvr2Batch,
  RetrievalBatch,
  TaskBatches,
  TextBatch,
  VqaBatch,
} from './data/batch.js';
export * from './data/index/index.js';
export * from './data/loader/index.js';
export {
  buildTransform,
  evaluation,
  type ImageTransform,
  imageNetTraining,
  type MixOptions,
  mixBatch,
  type TransformSpec,
  visionLanguageTraining,
} from './data/transforms/index.js';
export {
  type CaptionReferences,
  captionReferences,
  type DataReport,
  defaultBatchSize,
  type EvaluateDataOptions,
  evaluateDataSet,
  evaluatedSamples,
  type ReferenceOptions,
  type TrainingLoading,
} from './evaluate/dataSet.js';
export { type EvaluateOptions, type EvaluationReport, evaluate } from './evaluate/index.js';
export { readAnsweredQuestions, readCaptionReferences } from './evaluate/references.js';
export {
  type EpochRecord,
  type ExportFormat,
  type FinetuneEvent,
  type FinetuneOptions,
  type FinetuneResult,
  finetune,
  RECIPES,
  type Recipe,
  type Settings as FinetuneSettings,
  type StepRecord,
} from './finetune/index.js';
export { type Caption, type GenerateOptions, generate } from './generate.js';
export {
  type AnyTaskModel,
  Captioning,
  createModel,
  type HeadOptions,
  ImageClassification,
  Retrieval,
  type TaskModels,
  VisualQuestionAnswering,
  VisualReasoning,
} from './heads/index.js';
export * from './images/index.js';
export { type InferOptions, inferConfig, inferSpec, type Shapes } from './infer.js';
export { type ItcOptions, itc } from './itc/itc.js';
export { type LayerDecayOptions, layerDecayGroups } from './layerDecay.js';
export * from './metrics/index.js';
export { type MimOptions, mim } from './mim/mim.js';
export { Beit3, type Beit3Input, type Beit3Options, type Beit3Output, type Cache } from './model/beit3.js';
export type { Initialisation } from './model/initialisation.js';
export { type Comparison, type ParityCase, type ParityReport, runParity, TOLERANCE } from './parity/index.js';
export * from './pipeline/index.js';
export { type PretrainOptions, pretrain } from './pretrain/pretrain.js';
export type { ByteSource } from './readBytes.js';
export { type TrainingLoss, type TrainingLossOptions, trainingLoss } from './tasks/index.js';
export * from './tokenizer/index.js';
export type { RunEvent } from './training/run.js';
export type { TrainingOptions, TrainingResult } from './training/settings.js';
export { loadVqKd } from './vqkd/checkpoint.js';
export { encodeImage } from './vqkd/encode.js';
export { type TrainVqKdOptions, trainVqKd } from './vqkd/train.js';
export type { VqKd } from './vqkd/vqkd.js';
export { type ShippedModel, shippedModel } from './zoo/shipped.js';
